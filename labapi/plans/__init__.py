"""What can be said of a test plan without a database: its grammar, its order and its results."""
