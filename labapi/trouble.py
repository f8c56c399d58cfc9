"""Saying in the log what goes wrong in a loop: once, not every time round."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from labapi.exceptions import Unavailable


class Trouble:
    """What keeps a loop from its work.

    :param logger: an outage is a warning there, with its cause; any other error has its traceback
    :param work: what fails, for the log
    """

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any], work: str) -> None:
        self._logger = logger
        self._work = work
        self._last: tuple[object, ...] = ()

    @contextmanager
    def told(self) -> Iterator[None]:
        """Catch what the work raises, and log it unless it is the same as the last time."""
        try:
            yield
        except Exception as error:
            cause = f": {error.__cause__}" if error.__cause__ else ""
            # Its arguments only: the text of a database's error holds the statement's, too.
            what = (type(error), *error.args)
            if what != self._last and isinstance(error, Unavailable):
                self._logger.warning("%s: %s%s", self._work, error, cause)
            elif what != self._last:
                self._logger.error("%s failed", self._work, exc_info=error)
            self._last = what
        else:
            if self._last:
                self._logger.info("%s works again", self._work)
            self._last = ()
