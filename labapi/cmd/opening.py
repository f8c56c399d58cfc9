"""What a program says of itself in the log when it starts: one line, without a password."""

from __future__ import annotations

from collections.abc import Collection

from oslo_config import cfg
from oslo_log import log

import labapi

LOG = log.getLogger(__name__)


def say(program: str, host: str, *parts: str) -> None:
    """Write the line.

    :param host: by which the lab knows this program
    :param parts: what it works with, and its limits
    """
    LOG.info("%s %s on %s: %s", program, labapi.__version__, host, ", ".join(parts))


def say_goodbye(program: str) -> None:
    """Write the last line."""
    LOG.info("%s stopped", program)


def limits(options: cfg.ConfigOpts.GroupAttr, *names: str) -> str:
    """Return options with their values."""
    return ", ".join(f"{name} {options[name]}" for name in names)


def listed(noun: str, names: Collection[str]) -> str:
    """Return names after what they are names of."""
    if not names:
        return f"no {noun}"
    return f"{noun}{'s' if len(names) > 1 else ''} {' '.join(names)}"
