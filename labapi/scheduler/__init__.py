"""Which host gets a case: a library for whoever gives cases to hosts."""
