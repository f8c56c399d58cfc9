"""What stands behind the API in one process."""
