"""The plugin ``linux_system``: what any Linux machine can do."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from labapi.agent.errors import CannotStart
from labapi.agent.plugins import Outcome, Plugin, Run, method
from labapi.agent.plugins.linux_system import ping
from labapi.exceptions import InvalidInput

ARGS_SCHEMA: dict[str, Any] = {
    "oneOf": [
        {"type": "string", "maxLength": 100_000},
        {"type": "array", "items": {"type": "string", "maxLength": 100_000}, "maxItems": 10_000},
    ]
}
COMMAND_SCHEMA: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 4096}
RUN_SHELL_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"command": COMMAND_SCHEMA, "args": ARGS_SCHEMA},
    "required": ["command"],
    "additionalProperties": False,
}
PING_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "host": {"type": "string", "minLength": 1, "maxLength": 253},
        "count": {"type": "integer", "minimum": 1, "maximum": 100},
    },
    "required": ["host"],
    "additionalProperties": False,
}
FOR_A_SHELL = re.compile(r"[\s|&;<>$*?`()\"']")
NOTHING: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}

RUN_SHELL = (
    "Run a program, without a shell. command: the program; args: its arguments, a string that is"
    " split as a shell splits words, or a list. PASS if it exits with 0"
)
PING = (
    "Send echo requests. host: a name or an address; count: how many, 1 to 100 (4). PASS if any is"
    " answered; data: sent, received, min_ms, avg_ms, max_ms"
)
INFORMATION = "Describe the machine: system, processor, memory, disks, addresses. No parameters"


def words(parameters: dict[str, Any]) -> list[str]:
    """Return the command line of ``command`` and ``args``, as a list of words.

    :raises InvalidInput: ``args`` has a quotation that is not closed
    """
    args = parameters.get("args", [])
    if isinstance(args, str):
        try:
            args = shlex.split(args)
        except ValueError as error:
            raise InvalidInput(f"parameters.args cannot be split into words: {error}") from None
    return [parameters["command"], *args]


def execute(run: Run, argv: list[str], cwd: Path | None = None) -> Outcome:
    """Run a command line that a caller has written.

    :raises CannotStart: with a hint if the program's name looks like a line for a shell
    """
    try:
        return run.execute(argv, cwd=cwd)
    except CannotStart as error:
        if not FOR_A_SHELL.search(argv[0]):
            raise
        shell = json.dumps({"command": "sh", "args": ["-c", argv[0]]})
        hint = "command is the name of one program, and no shell reads it"
        raise CannotStart(
            f"{error}; {hint}: give its arguments in args, or run a shell: {shell}"
        ) from error.__cause__


class LinuxSystem(Plugin):
    """Commands, reachability and facts of a Linux machine."""

    @method(RUN_SHELL, schema=RUN_SHELL_SCHEMA)
    def run_shell(self, run: Run, parameters: dict[str, Any]) -> Outcome:
        """Run a program, without a shell."""
        argv = words(parameters)
        run.permit(argv[0])
        return execute(run, argv)

    @method(PING, schema=PING_SCHEMA)
    def ping(self, run: Run, parameters: dict[str, Any]) -> Outcome:
        """Send echo requests and count the answers."""
        return ping.echo(run, parameters["host"], parameters.get("count", 4))

    @method(INFORMATION, schema=NOTHING)
    def system_information(self, run: Run, parameters: dict[str, Any]) -> dict[str, Any]:
        """Describe the machine."""
        # psutil is loaded when it is first needed: an idle agent stays small.
        from labapi.agent.plugins.linux_system import machine

        return machine.describe()
