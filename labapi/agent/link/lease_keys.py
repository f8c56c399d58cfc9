"""Lets those in by ssh who have leased this host, for as long as they have.

The keys stand in a file of the agent's own, which sshd reads for an account: what somebody writes
in the account's home has no say in who may come in. Each key has an ``expiry-time``, so that sshd
refuses it in time even if the agent has died. The agent says in its heartbeats whose keys it has;
a conductor that hears something else than the database says answers with what is right. The answer
repeats a number that is used once, and soon, so that one which somebody recorded or kept back lets
nobody in.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import threading
import time
from pathlib import Path

from oslo_config import cfg
from oslo_log import log

from labapi import ssh_keys
from labapi.agent.processes import proc
from labapi.exceptions import ConfigError, InvalidInput
from labapi.rpc.messages import KeysHeld, LeaseKeys

LOG = log.getLogger(__name__)

OPTION = "[agent] lease_keys_file"
HEADER = "# Written by labapi-agent: the keys of whoever has leased this host.\n"
STATE = "lease-keys.json"
ANSWERED = 60.0  # seconds in which an answer counts; later somebody has kept it back


def load(options: cfg.ConfigOpts.GroupAttr, state: Path) -> KeysFile | None:
    """Return the file that is configured, None if none is.

    :param state: the agent's own folder
    :raises ConfigError: it cannot be used, or is not the agent's
    """
    return KeysFile(Path(options.lease_keys_file), state) if options.lease_keys_file else None


class KeysFile:
    """The file with the keys; safe to use from several threads.

    :raises ConfigError: it cannot be used, or is not the agent's
    """

    def __init__(self, path: Path, state: Path) -> None:
        self._path = path
        self._state = state / STATE
        self._lock = threading.Lock()
        self._ask_anew()
        _check(path)
        self._lease, self._until = self._remembered()
        # What was written last may be there or not: a conductor says what is right.
        self._sure = False
        if not self._lease:
            self._write([], "", 0.0)

    def held(self) -> KeysHeld:
        """Return whose keys there are; those whose time is over are taken out first."""
        with self._lock:
            if self._lease and self._until <= _steady():
                LOG.info("lease %s is over: its keys are taken out", self._lease)
                self._write([], "", 0.0)
            if _steady() - self._asked_at > ANSWERED:
                self._ask_anew()
            left = max(0.0, self._until - _steady()) if self._sure else 0.0
            return KeysHeld(nonce=self._nonce, lease=self._lease, seconds=left)

    def told(self, message: LeaseKeys) -> None:
        """Do what a conductor says, if it answers what was said last."""
        with self._lock:
            if message.nonce != self._nonce or _steady() - self._asked_at > ANSWERED:
                return
            self._ask_anew()
            try:
                keys = [ssh_keys.read(key) for key in message.keys]
            except InvalidInput as error:
                LOG.error("the keys of lease %s are not put in: %s", message.lease, error)
                return
            LOG.info("lease %s: %d keys are put in", message.lease or "none", len(keys))
            self._write(keys, message.lease, message.seconds)

    def _ask_anew(self) -> None:
        self._nonce, self._asked_at = secrets.token_hex(16), _steady()

    def _write(self, keys: list[str], lease: str, seconds: float) -> None:
        """Replace the file, and what is remembered of it.

        If that fails, the next heartbeat says what was there before, and it is tried again.
        """
        # Local time, which every sshd understands that knows expiry-time at all.
        expiry = time.strftime("%Y%m%d%H%M%S", time.localtime(time.time() + seconds))
        lines = [f'expiry-time="{expiry}" {key} lease-{lease}\n' for key in keys]
        until = _steady() + seconds
        remembered = json.dumps({"lease": lease, "until": until, "boot": proc.boot_id()})
        writes = [(self._state, remembered, 0o600), (self._path, HEADER + "".join(lines), 0o644)]
        self._sure = False
        try:
            # At no time there are keys of a lease that nobody remembers.
            for path, text, mode in writes if keys else reversed(writes):
                _replace(path, text, mode)
        except OSError as error:
            LOG.error("%s: %s cannot be written: %s", OPTION, self._path, error)
            return
        self._lease, self._until, self._sure = lease, until, True

    def _remembered(self) -> tuple[str, float]:
        """Return whose keys there are, and until when on the clock of this run of the kernel."""
        try:
            known = json.loads(self._state.read_text())
            lease, until, boot = str(known["lease"]), float(known["until"]), known["boot"]
        except (OSError, ValueError, KeyError, TypeError):
            return "", 0.0
        return (lease, until) if boot and boot == proc.boot_id() else ("", 0.0)


def _steady() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _check(path: Path) -> None:
    """Check that nobody else can change the file, and that it is the agent's.

    :raises ConfigError: it is not so
    """
    if not path.is_absolute():
        raise ConfigError(f"{OPTION}: {path} is no absolute path")
    try:
        folder = os.stat(path.parent)
        if folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or folder.st_uid not in (0, os.geteuid()):
            raise ConfigError(f"{OPTION}: others may write into {path.parent}")
        if not os.path.lexists(path):
            return
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise ConfigError(f"{OPTION}: {path} is no file")
        begins = path.read_text(errors="replace")[: len(HEADER)]
    except OSError as error:
        raise ConfigError(f"{OPTION}: {path}: {error.strerror}") from error
    if begins not in ("", HEADER):
        raise ConfigError(f"{OPTION}: {path} holds something else; name a file of its own")


def _replace(path: Path, text: str, mode: int) -> None:
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(draft, flags, mode), "w", encoding="ascii") as out:
        os.fchmod(out.fileno(), mode)
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(path)
