"""What URLs answer with, one module for each noun."""
