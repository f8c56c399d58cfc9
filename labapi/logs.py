"""The log: oslo.log as its options say, with the lines of requests made in less time."""

from __future__ import annotations

import logging
import re

from oslo_config import cfg
from oslo_context import context as oslo_context
from oslo_log import formatters, log

# What every record has, and what a request adds to it.
_KNOWN = frozenset(
    {
        *("asctime", "created", "filename", "funcName", "levelname", "levelno", "lineno"),
        *("message", "module", "msecs", "name", "pathname", "process", "processName"),
        *("relativeCreated", "request_id", "thread", "threadName"),
    }
)
_FIELDS = re.compile(r"%\((\w+)\)")


def setup(conf: cfg.ConfigOpts) -> None:
    """Set up the log as the options say."""
    log.setup(conf, "labapi")
    for handler in logging.getLogger().handlers:
        # A handler of another kind may look into the record for what oslo.log's formatter leaves
        # there; a formatter of another kind is the operator's choice.
        plain = isinstance(handler, logging.StreamHandler)
        if plain and type(handler.formatter) is formatters.ContextFormatter:
            handler.setFormatter(Formatter(conf))


class Formatter(formatters.ContextFormatter):
    """Makes the lines that oslo.log makes, the frequent ones in a tenth of the time.

    Frequent are those at level info in a request. oslo.log computes for each what any format could
    ask for; here it is only what this one does. All other lines are oslo.log's own.

    :param conf: configuration with oslo.log's options
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(datefmt=conf.log_date_format, project="labapi", config=conf)
        self._line: str = conf.logging_context_format_string
        self._simple = bool(self.datefmt) and _KNOWN.issuperset(_FIELDS.findall(self._line))
        self._second = (0, "")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        given = record.__dict__
        context = oslo_context.get_current()
        if (
            not self._simple
            or context is None
            or record.levelno != logging.INFO
            or record.exc_info
            or record.stack_info
            or "context" in given
        ):
            return self._without_echo(str(super().format(record)), record)
        record.asctime = self._time(record)
        record.message = record.getMessage()
        # Lines of filters begin with the id, for they are read in other services' logs, too.
        request_id = context.request_id
        record.request_id = "-" if record.message.startswith(f"{request_id} ") else request_id
        return self._line % given

    def _without_echo(self, line: str, record: logging.LogRecord) -> str:
        """Return a line of ours without the error that oslo.log adds to what is said in an except.

        Our lines name the error themselves, so it would stand there twice.
        """
        summary = getattr(record, "error_summary", "")
        if not summary or record.exc_info or not record.name.startswith("labapi"):
            return line
        return line.removesuffix(f": {summary}")

    def _time(self, record: logging.LogRecord) -> str:
        """Return the time as ``log_date_format`` has it, which knows no parts of a second."""
        second, text = self._second
        if second != int(record.created):
            text = self.formatTime(record, self.datefmt)
            self._second = (int(record.created), text)
        return text
