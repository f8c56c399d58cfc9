"""What strangers try, and what must hold."""
