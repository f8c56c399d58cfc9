"""What URLs answer with, one module for each noun."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from labapi.api.access import Rule


class Controller:
    """What answers at some URLs: a method for each action that the table of routes names.

    What its ``__init__`` names is handed to it: fields of
    :class:`labapi.api.backend.backend.Backend`.

    :cvar RULES: the rules of the policy that it asks for and no other controller has
    """

    RULES: ClassVar[Sequence[Rule]] = ()
