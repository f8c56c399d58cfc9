"""Who runs a program."""

from __future__ import annotations

import os
import pwd
import socket


def caller() -> str:
    """Return ``user@machine``; behind sudo the user who called it."""
    user = os.getuid()
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:  # a container may have no account for it
        name = str(user)
    if user == 0:  # of root alone this variable says something
        name = os.environ.get("SUDO_USER", name)
    return f"{name}@{socket.gethostname()}"[:255]
