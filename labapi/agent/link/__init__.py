"""The agent as the conductors see it: what it hears from them and tells them."""
