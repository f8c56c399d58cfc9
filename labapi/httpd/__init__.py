"""The HTTP servers of labapi's own programs."""
