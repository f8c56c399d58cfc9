"""How things look from outside, one module for each noun."""
