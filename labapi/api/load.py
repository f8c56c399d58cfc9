"""Building the API from ``api-paste.ini``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from oslo_config import cfg
from oslo_log import log

from labapi.api.app import backend
from labapi.api.backend.backend import Backend
from labapi.config import ETC
from labapi.exceptions import ConfigError
from labapi.pipeline.build import Texts, build, saying
from labapi.pipeline.check import check
from labapi.pipeline.check.check import Report

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


LOG = log.getLogger(__name__)


def find(conf: cfg.ConfigOpts) -> Path:
    """Return the path of the Paste file that ``[api] paste_config`` names.

    :raises ConfigError: there is no such file
    """
    name = Path(conf.api.paste_config)
    tried = [name.absolute()] if name.is_absolute() else list(_places(conf, name))
    for path in tried:
        if path.is_file():
            return path
    places = ", ".join(str(path) for path in tried)
    raise ConfigError(f"[api] paste_config = {name}: there is no such file; looked for {places}")


def examine(conf: cfg.ConfigOpts, path: Path, texts: Texts | None = None) -> Report:
    """Look for everything that is wrong with a Paste file, without building anything.

    :param texts: where to put those of the files that were looked at
    :raises ConfigError: looking at it failed
    """
    with saying(str(path)):  # to look at a factory is to import somebody's module
        return check.examine(str(path), _given(conf), {"workers": str(conf.api.workers)}, texts)


def require_sound(conf: cfg.ConfigOpts, path: Path, texts: Texts) -> None:
    """Check that a Paste file can work.

    :param texts: where to put what has been checked, so that it is what is built
    :raises ConfigError: it cannot; the text has a line for everything that is wrong
    """
    report = examine(conf, path, texts)
    for finding in report.warnings:
        LOG.warning("%s", finding)
    if report.errors:
        raise ConfigError("\n".join(str(finding) for finding in report.errors))


def load(
    conf: cfg.ConfigOpts, behind: Backend, path: Path | None = None, texts: Texts | None = None
) -> WSGIApplication:
    """Build the pipeline.

    :param behind: what the application at its end works with
    :param path: of the Paste file; the default is the one that :func:`find` finds
    :param texts: if it has any, they are built instead of the files as they are now; if it is
        empty, it is filled with what was read
    :raises ConfigError: the file cannot work; the text says where and why
    """
    path = path or find(conf)
    texts = Texts() if texts is None else texts
    if not texts:
        require_sound(conf, path, texts)
    with backend(behind):
        return build(str(path), _given(conf), texts)


def _given(conf: cfg.ConfigOpts) -> dict[str, str]:
    """Return what every filter can know of the server."""
    host = f"[{conf.api.host}]" if ":" in conf.api.host else conf.api.host
    return {"listen": f"{host}:{conf.api.port}"}


def _places(conf: cfg.ConfigOpts, name: Path) -> Iterable[Path]:
    for file in reversed(conf.config_file or []):
        yield Path(file).absolute().parent / name
    yield ETC / name
    yield Path(sys.prefix) / "etc" / "labapi" / name
    yield Path(__file__).parents[2] / "etc" / name
