"""What can be said of a Paste file; nothing here knows the API that it assembles."""
