"""The agent as the conductors see it: what it hears of them and tells them."""
