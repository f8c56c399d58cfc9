"""What starts, limits, finds and ends processes."""
