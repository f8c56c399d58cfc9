"""A lab whose parts die at random, and a count at the end."""
