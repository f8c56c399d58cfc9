"""The log: whatever the options, its lines are those of oslo.log."""

from __future__ import annotations

import logging
import threading

import pytest
from oslo_context import context
from oslo_log import formatters

from labapi import config, logs

DEFAULT = config.LOG_FORMAT
OSLO = "%(asctime)s.%(msecs)03d [%(request_id)s %(user_identity)s] %(instance)s%(message)s"
OPTIONS = [
    {},
    {"logging_context_format_string": OSLO},
    {"logging_context_format_string": "%(isotime)s %(message)s"},
    {"logging_context_format_string": "%(asctime)s 100%% %(request_id)s %(message)s"},
    {"logging_context_format_string": "%(message)s %(error_summary)s"},
    {"log_date_format": "%d.%m.%Y %H.%M"},
    {"logging_debug_format_suffix": "%(lineno)d"},
]
ERROR = (ValueError, ValueError("no"), None)
RECORDS = [
    {},
    {"levelno": logging.DEBUG, "levelname": "DEBUG"},
    {"levelno": logging.ERROR, "levelname": "ERROR", "exc_info": ERROR},
    {"exc_info": ERROR},
    {"stack_info": "Stack:\n  here"},
    {"msg": "no arguments: 100 %", "args": ()},
    {"context": {"request_id": "req-given"}},
    {"request_id": "req-other"},
    {"created": 1_700_000_000.0, "msecs": 0.0},
]


@pytest.fixture(autouse=True)
def _no_context(monkeypatch):
    monkeypatch.setattr(context, "_request_store", threading.local())


@pytest.fixture
def root():
    """The root logger, whose handlers and level oslo.log replaces."""
    logger = logging.getLogger()
    before = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:], logger.level = before


def configured(**options):
    conf = config.new(logging_context_format_string=DEFAULT)
    conf([], project="labapi", default_config_files=[])
    for name, value in options.items():
        conf.set_override(name, value)
    return conf


def record(**changed):
    made = logging.LogRecord("labapi.api", logging.INFO, "/x.py", 7, "%s done", ("it",), None)
    vars(made).update(changed)
    return made


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("changed", RECORDS, ids=str)
@pytest.mark.parametrize("request_id", ["req-1", None])
def test_a_line_is_oslo_logs(options, changed, request_id):
    if request_id:
        context.RequestContext(request_id=request_id)
    conf = configured(**options)
    oslo = formatters.ContextFormatter(datefmt=conf.log_date_format, project="labapi", config=conf)
    ours = logs.Formatter(conf)
    changed = {"created": 1_700_000_000.25, "msecs": 250.0, **changed}
    assert ours.format(record(**changed)) == oslo.format(record(**changed))


def test_the_time_goes_on():
    context.RequestContext(request_id="req-1")
    ours = logs.Formatter(configured())
    lines = [ours.format(record(created=float(second), msecs=0.0)) for second in (1, 1, 2)]
    assert lines[0] == lines[1]
    assert lines[1][:19] != lines[2][:19]


@pytest.mark.parametrize(
    ("options", "cls"),
    [
        ({}, logs.Formatter),
        ({"use_json": True}, formatters.JSONFormatter),
        ({"use_stderr": True}, logs.Formatter),
    ],
)
def test_the_options_choose_the_formatter(root, options, cls):
    logs.setup(configured(**options))
    assert {type(handler.formatter) for handler in root.handlers} == {cls}


def test_an_operators_own_configuration_stays(root, tmp_path):
    file = tmp_path / "logging.conf"
    file.write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=a\n[formatters]\nkeys=f\n"
        "[logger_root]\nhandlers=a\n[handler_a]\nclass=StreamHandler\nargs=()\nformatter=f\n"
        "[formatter_f]\nformat=mine %(message)s\n"
    )
    logs.setup(configured(log_config_append=str(file)))
    assert root.handlers[0].format(record()) == "mine it done"


def test_a_line_of_a_request_does_not_ask_oslo_log(monkeypatch):
    monkeypatch.setattr(formatters.ContextFormatter, "format", None)
    context.RequestContext(request_id="req-1")
    assert "[req-1] it done" in logs.Formatter(configured()).format(record())


@pytest.mark.parametrize(
    ("options", "changed", "end"),
    [
        ({}, {}, "refused: no"),
        ({}, {"name": "keystonemiddleware"}, "refused: no: ZeroDivisionError: division by zero"),
        (
            {"logging_default_format_string": "%(message)s %(error_summary)s"},
            {},
            "refused: no ZeroDivisionError: division by zero",
        ),
    ],
)
def test_an_error_that_a_line_names_is_not_added_to_it(options, changed, end):
    line = {"levelno": logging.WARNING, "levelname": "WARNING", "msg": "refused: %s"}
    formatter = logs.Formatter(configured(**options))
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        said = formatter.format(record(args=("no",), **line, **changed))
    assert said.endswith(end)


def test_a_line_has_the_id_of_its_request_once():
    context.RequestContext(request_id="req-1")
    ours = logs.Formatter(configured())
    assert "[req-1] it done" in ours.format(record())
    said = ours.format(record(msg="%s 192.0.2.1 GET", args=("req-1",)))
    assert said.endswith("labapi.api [-] req-1 192.0.2.1 GET")
