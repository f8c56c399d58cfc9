"""The API for any WSGI server: ``gunicorn labapi.wsgi:application``.

Options come from the files that ``LABAPI_CONFIG`` names (separated by colons), or else from
``labapi.conf`` in ``~/.labapi``, ``~`` or ``/etc/labapi``. Loading the module builds the pipeline
and starts the process's threads, so load it in the process that serves (gunicorn: no
``--preload``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from labapi import config, logs
from labapi.api import load
from labapi.api.backend.backend import Backend
from labapi.db import migration
from labapi.db.session import Database
from labapi.httpd.screen import screened
from labapi.rpc.transport import Transport

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def build() -> WSGIApplication:
    """Return the application, with its threads running.

    :raises ConfigError: the configuration cannot work
    """
    files = os.environ.get("LABAPI_CONFIG", "").split(":")
    args = [arg for file in files if file for arg in ("--config-file", file)]
    conf = config.load(args, prog="labapi-api", description="The HTTP API of labapi.")
    logs.setup(conf)
    database = Database(conf)
    migration.require_current(database)
    behind = Backend.of(conf, Transport(conf), database)
    application = screened(load.load(conf, behind))
    behind.start()
    return application


application = build()
