"""The API's application as something that can be replaced while it serves."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from oslo_config import cfg
from oslo_log import log

from labapi.api import load, policy
from labapi.api.backend.backend import Backend
from labapi.exceptions import ConfigError
from labapi.pipeline.build import Texts

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LOG = log.getLogger(__name__)


class Reloadable:
    """A WSGI application that hands each request to the newest pipeline.

    A request that is under way ends on the pipeline on which it began. When the last one has, that
    pipeline and what its filters hold open (sockets, files) go away with it.

    :param conf: says where the policy file is; it is not read again itself
    :param behind: what the application works with; it stays
    :param path: of the Paste file. Were it looked for each time, one that is moved away would
        bring in the shipped one, and with it another authentication
    :param texts: what to begin with, instead of the files as they are
    :raises ConfigError: the pipeline cannot be built
    """

    def __init__(
        self, conf: cfg.ConfigOpts, behind: Backend, path: Path, texts: Texts | None = None
    ) -> None:
        self._conf = conf
        self._behind = behind
        self._path = path
        self._app = load.load(conf, behind, path, texts)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        return self._app(environ, start_response)

    def reload(self) -> bool:
        """Build the pipeline from the files as they are now; keep the old one if that fails.

        What is wrong goes to the log.

        :returns: whether the pipeline is a new one
        """
        try:
            behind = dataclasses.replace(self._behind, policy=policy.load(self._conf))
            self._app = load.load(self._conf, behind, self._path)
        except ConfigError as error:
            wrong = error
        else:
            gc.collect()  # filters and what they wrap may form circles
            LOG.info("a new pipeline serves")
            return True
        refused(wrong)
        return False


def refused(error: ConfigError) -> None:
    """Say in the log why a pipeline could not be built.

    Called where the error is over: to a line about one under way, oslo.log adds its text again.
    """
    for line in str(error).splitlines():
        LOG.error("%s", line)
    LOG.error("the old pipeline stays")
    LOG.debug("why the pipeline could not be built", exc_info=error)
