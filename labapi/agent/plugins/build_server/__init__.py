"""The plugin ``build_server``: source trees, fetched or unpacked, and built in a fresh folder."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from labapi.agent.errors import CaseError
from labapi.agent.plugins import Outcome, Run, method
from labapi.agent.plugins.linux_system import (
    ARGS_SCHEMA,
    COMMAND_SCHEMA,
    LinuxSystem,
    execute,
    words,
)
from labapi.case import Reason, Result
from labapi.exceptions import InvalidInput

# Run as a program and not imported: what it reads archives with would stay in the agent's memory.

GIT_SCHEMES = ("git", "ssh", "http", "https", "file")
GIT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": ":".join(GIT_SCHEMES),  # no ext::, which runs a command
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
}
REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@-]{0,254}", re.ASCII)

BUILD_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "source": {"type": "string", "minLength": 1, "maxLength": 4096},
        "ref": {"type": "string", "minLength": 1, "maxLength": 255},
        "command": COMMAND_SCHEMA,
        "args": ARGS_SCHEMA,
    },
    "required": ["source", "command"],
    "additionalProperties": False,
}
BUILD = (
    "Build a source tree in a fresh folder. source: the http(s) or file URL of a tar or zip"
    " archive, the absolute path of an archive or a folder, or the URL of a git repository (it ends"
    " with .git or begins with git+); ref: branch, tag or commit for git; command, args: what to"
    " run in the tree, as in run_shell. PASS if that exits with 0"
)


class BuildServer(LinuxSystem):
    """Source trees and their builds, beside what any Linux machine can do."""

    @method(BUILD, schema=BUILD_SCHEMA)
    def build(self, run: Run, parameters: dict[str, Any]) -> Outcome:
        """Fetch or unpack a source tree and run its build command."""
        argv = words(parameters)
        run.permit(argv[0])
        source, ref = parameters["source"], parameters.get("ref")
        tree = run.workdir / "source"
        repository = _repository(source)
        if repository is not None:
            _fetch_git(run, repository, ref, tree)
        elif ref is not None:
            raise InvalidInput("parameters.ref is for git repositories only (….git, git+…)")
        else:
            _fetch(run, source, tree)
        return execute(run, argv, cwd=_only_folder(tree))


def _repository(source: str) -> str | None:
    """Return the URL of a git repository, None if the source is something else.

    :raises InvalidInput: a URL of git that is not one of the known kinds
    """
    marked = source.startswith("git+")
    url = source.removeprefix("git+")
    if not marked and not url.endswith(".git") and not url.startswith(("git:", "ssh:")):
        return None
    if url.startswith("/") or urlsplit(url).scheme in GIT_SCHEMES:
        return url
    raise InvalidInput(
        f"parameters.source: {source!r} is neither a path nor a URL of {', '.join(GIT_SCHEMES)}"
    )


def _fetch_git(run: Run, url: str, ref: str | None, tree: Path) -> None:
    if ref is not None and (not REF.fullmatch(ref) or ".." in ref):
        raise InvalidInput(f"parameters.ref: {ref!r} is not a branch, tag or commit")
    for argv in (
        ["git", "init", "-q", "--", str(tree)],
        ["git", "-C", str(tree), "fetch", "-q", "--depth=1", "--no-tags", "--", url, ref or "HEAD"],
        ["git", "-C", str(tree), "checkout", "-q", "--detach", "FETCH_HEAD"],
    ):
        _must(run.execute(argv, cwd=run.workdir, env=GIT, capture=1000), "git")


def _fetch(run: Run, source: str, tree: Path) -> None:
    """Fetch and unpack in processes of the case's own, with its user, limits and timeout."""
    if urlsplit(source).scheme in ("http", "https"):
        archive = run.workdir / "archive"
        _program(run, "download", source, str(archive))
        source = str(archive)
    _program(run, "source", source, str(tree))
    (run.workdir / "archive").unlink(missing_ok=True)


def _program(run: Run, name: str, *arguments: str) -> None:
    argv = [sys.executable, "-I", str(Path(__file__).with_name(f"{name}.py")), *arguments]
    _must(run.execute(argv, cwd=run.workdir, capture=1000), "source")


def _must(outcome: Outcome, what: str) -> None:
    """Check that a step before the build went well: its failure is not the build's."""
    if outcome.result != Result.PASS:
        text = outcome.captured.decode(errors="replace").strip() or outcome.detail
        raise CaseError(f"{what}: {text} (exit status {outcome.exit_code})", Reason.CANNOT_FETCH)


def _only_folder(tree: Path) -> Path:
    """Return the folder to build in: of an archive that holds a single folder, that one."""
    entries = list(tree.iterdir())
    if len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink():
        return entries[0]
    return tree
