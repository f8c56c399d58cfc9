"""The agent: runs test cases on a lab machine and reports how they ended."""
