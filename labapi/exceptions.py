"""What can go wrong, in the words of the domain.

Nothing here knows HTTP: :mod:`labapi.api.faults` maps these classes to statuses. The text of every
one of them is written for the person at the other end and may be shown.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence


class LabapiError(Exception):
    """The root of what labapi raises on purpose."""


class InvalidInput(LabapiError):
    """A value that cannot be used; the text names the field and says what was expected.

    :param errors: where several cannot be used, one text for each; ``message`` is about them all
    """

    def __init__(self, message: str, errors: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors)


class NotFound(LabapiError):
    """What was addressed does not exist."""


class Forbidden(LabapiError):
    """The caller is known and may not do this."""


class Conflict(LabapiError):
    """The state of what was addressed does not allow this now."""


class Unavailable(LabapiError):
    """A server that labapi needs is away; the same call may succeed later."""


class NoRoom(Unavailable):
    """There is enough to do here; what comes now waits where it comes from."""


class ForSomebodyElse(Unavailable):
    """Messages that another reader of the queue may want."""


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached."""


class BrokerUnavailable(Unavailable):
    """The message broker cannot be reached or does not confirm.

    :param repeated: whoever says so here has said it before, and nothing went through since
    :ivar level: of the line in the log: one tells of an outage
    """

    def __init__(self, message: str, *, repeated: bool = False) -> None:
        super().__init__(message)
        self.level = logging.DEBUG if repeated else logging.WARNING


class BadMessage(LabapiError):
    """A message that is not of the protocol, or of a version that is not understood."""


class ConfigError(LabapiError):
    """A configuration that cannot work; the text names the file, the option or the place."""
