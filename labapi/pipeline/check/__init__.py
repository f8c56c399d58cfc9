"""The check of a Paste file: it finds all mistakes at once, and builds nothing."""
