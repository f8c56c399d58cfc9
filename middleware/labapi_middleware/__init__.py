"""WSGI filters for labapi, OpenStack Swift and other Paste pipelines."""
