"""Paste files: what they may say, what is wrong with them, and building what they assemble."""
