"""What the agent's configuration allows cases, and with what rights they run."""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import resource
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from oslo_config import cfg

from labapi.agent.errors import CannotStart
from labapi.exceptions import ConfigError, InvalidInput

MIB = 1024 * 1024
PROBE_TIMEOUT = 10.0  # seconds for the trial start of a program as another user
PR_SET_NO_NEW_PRIVS = 38
_ON, _0 = ctypes.c_ulong(1), ctypes.c_ulong(0)
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True)
class Limits:
    """How processes of cases are started.

    :ivar environment: their whole environment
    :ivar options: arguments of :class:`subprocess.Popen` that set the user
    :ivar owner: uid and gid that the folders of attempts belong to, None for the agent's own
    :ivar prefix: words before each command, which set limits and run it
    :ivar nice: by how much processes are less urgent than the agent
    :ivar new_privileges: programs may gain rights that their user lacks
    :ivar programs: patterns of what callers may name as a command, None for anything
    """

    environment: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    owner: tuple[int, int] | None = None
    prefix: tuple[str, ...] = ()
    nice: int = 0
    new_privileges: bool = False
    programs: tuple[str, ...] | None = None

    def confine(self) -> None:
        """Have the calling thread, and what it starts, gain no rights by running a program.

        :raises CannotStart: the kernel does not do that
        """
        # The kernel keeps this for each thread (prctl(2)); processes inherit it, for good.
        if not self.new_privileges and _libc().prctl(PR_SET_NO_NEW_PRIVS, _ON, _0, _0, _0) != 0:
            why = os.strerror(ctypes.get_errno())
            raise CannotStart(f"[agent] new_privileges: the kernel cannot take them away: {why}")

    def permit(self, program: str) -> None:
        """Check that callers may name this program.

        A pattern without a slash is a bare name, which the search path resolves; one with a slash
        is compared with whole paths, in which ``..`` is not allowed.

        :raises InvalidInput: they may not
        """
        if self.programs is None:
            return
        path = "/" in program
        if not (path and ".." in program.split("/")):
            for pattern in self.programs:
                if path == ("/" in pattern) and fnmatchcase(program, pattern):
                    return
        raise InvalidInput(f"{program!r} is not among the programs that this host allows")


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def read(options: cfg.ConfigOpts.GroupAttr) -> Limits:
    """Return the limits that the group ``[agent]`` sets.

    :raises ConfigError: a user that does not exist, a limit that would limit nothing
    """
    user, owner = _user(options.run_as)
    environment = _environment(options.environment, owner)
    if options.process_limit is not None and (owner or (os.geteuid(),))[0] == 0:
        raise ConfigError(
            "[agent] process_limit limits nothing for root: set run_as to another user"
        )
    return Limits(
        environment=environment,
        options=user,
        owner=owner,
        prefix=_prefix(options.memory_limit, options.process_limit),
        nice=options.nice,
        new_privileges=options.new_privileges,
        programs=tuple(options.run_shell_allow) or None,
    )


def try_out(limits: Limits, work: Path) -> None:
    """Start a program as cases are started.

    :param work: folder of the folders of attempts
    :raises ConfigError: the agent may not become that user, or the user cannot reach the folder
    """
    if limits.owner is None and not limits.prefix:
        return
    try:
        subprocess.run(
            [*limits.prefix, "test", "-x", str(work)],
            env=dict(limits.environment),
            timeout=PROBE_TIMEOUT,
            check=True,
            capture_output=True,
            **limits.options,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"[agent] run_as, memory_limit, process_limit: no program can be started that way, or"
            f" it cannot reach {work}: {error}"
        ) from error


def _environment(entries: Sequence[str], owner: tuple[int, int] | None) -> dict[str, str]:
    """Return variables: ``NAME`` as the agent has it, ``NAME=value`` as written.

    Variables that depend on the user are those of the user that cases run as.
    """
    own: Mapping[str, str] = os.environ
    if owner is not None:
        user = pwd.getpwuid(owner[0])
        own = {**own, "HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
    found = {}
    for entry in entries:
        name, given, value = entry.partition("=")
        if not VARIABLE.fullmatch(name):
            raise ConfigError(f"[agent] environment: {entry!r} is neither NAME nor NAME=value")
        if given:
            found[name] = value
        elif name in own:
            found[name] = own[name]
    found.setdefault("PATH", os.defpath)
    return found


def _user(name: str | None) -> tuple[dict[str, Any], tuple[int, int] | None]:
    if not name:
        return {}, None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(f"[agent] run_as: there is no user {name!r}") from None
    groups = os.getgrouplist(name, entry.pw_gid)
    options = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}
    return options, (entry.pw_uid, entry.pw_gid)


def _prefix(memory: int | None, processes: int | None) -> tuple[str, ...]:
    """Return the call of prlimit(1): limits set from outside would come a moment too late."""
    words = []
    if memory is not None:
        words.append(f"--as={_within(memory * MIB, resource.RLIMIT_AS, 'memory_limit')}")
    if processes is not None:
        words.append(f"--nproc={_within(processes, resource.RLIMIT_NPROC, 'process_limit')}")
    if not words:
        return ()
    program = shutil.which("prlimit")
    if program is None:
        raise ConfigError("[agent] memory_limit, process_limit: prlimit (util-linux) is missing")
    return (program, *words, "--")


def _within(value: int, kind: int, option: str) -> int:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY and value > hard:
        raise ConfigError(f"[agent] {option} is above the limit of the agent itself ({hard})")
    return value
