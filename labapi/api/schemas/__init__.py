"""What bodies look like, as JSON Schema; compiled once, when a module is imported."""
