"""The HTTP API: a WSGI application that Paste assembles."""
