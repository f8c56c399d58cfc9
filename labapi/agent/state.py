"""The agent's folder on disk: its identity, its lock, its journal, its cases' folders."""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path

from oslo_log import log

from labapi.agent import folders
from labapi.exceptions import ConfigError
from labapi.rpc.transport import HOST_NAME, HOST_NAME_IS

LOG = log.getLogger(__name__)


class StateFolder:
    """``<state_path>/agent-<host>/``, held by one agent at a time.

    :ivar agent: UUID that was made with the folder
    :ivar work: folder for the folders of attempts, empty now
    :param work_dir: where the folders of attempts are instead; made a folder of this agent's
    :param shared: another user than the agent's must be able to reach its own folder in ``work``
    :raises ConfigError: the folder cannot be used, or another agent uses it
    """

    def __init__(
        self, state_path: str, host: str, work_dir: str | None = None, *, shared: bool = False
    ) -> None:
        if not HOST_NAME.fullmatch(host):
            raise ConfigError(f"[agent] host: {host!r} is not a host name; expected {HOST_NAME_IS}")
        self.path = Path(state_path).absolute() / f"agent-{host}"
        self.work = Path(work_dir).absolute() / f"agent-{host}" if work_dir else self.path / "work"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # With 0711 a user can go through, but can neither list nor open what is not its own.
            mode = 0o711 if shared else 0o700
            self.path.chmod(mode)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"the agent's folder {self.path} cannot be used: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.agent = self._identity()
            self._empty_work()
            self.work.chmod(mode)
        except BlockingIOError:
            self.close()
            raise ConfigError(f"another agent uses {self.path}") from None
        except OSError as error:
            self.close()
            raise ConfigError(f"the agent's folder {self.path} cannot be used: {error}") from error

    def close(self) -> None:
        """Let another agent have the folder."""
        os.close(self._lock)

    def _empty_work(self) -> None:
        if self.work.is_symlink():
            raise OSError(f"{self.work} is a symbolic link")
        self.work.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self.work.iterdir():
            if left.is_dir() and not left.is_symlink():
                folders.remove(left)

    def _identity(self) -> str:
        file = self.path / "agent-id"
        try:
            return str(uuid.UUID(file.read_text().strip()))
        except FileNotFoundError:
            agent = str(uuid.uuid4())
        except ValueError:
            agent = str(uuid.uuid4())
            LOG.warning("%s held no UUID; this agent is a new one from now on", file)
        draft = file.with_suffix(".new")
        draft.write_text(f"{agent}\n")
        draft.replace(file)
        return agent
