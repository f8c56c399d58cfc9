"""Messages between API, conductor and agents, over kombu."""
