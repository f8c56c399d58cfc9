"""``lab run``: a program on a host, the short way."""

from __future__ import annotations

import argparse

from labapi_client.cli.arguments import add_command
from labapi_client.cli.command import UsageError
from labapi_client.cli.running import Running

PLUGIN, METHOD = "linux_system", "run_shell"


class Run(Running):
    """Run a program on a host: lab run HOST -- PROGRAM [ARGUMENT ...].

    In place of HOST, options say what its host must fulfil: lab run --requires gpu -- nvidia-smi

    It is run as it stands, without a shell; for a shell's pipes and variables run one:
    lab run HOST -- sh -c 'ls | wc -l'
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser that leaves what stands behind -- alone."""
        parser = super().get_parser(prog_name)
        self.add_host(parser, "host", nargs="?", help="where it runs; or see below")
        add_command(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Post the case."""
        if not parsed_args.command:
            raise UsageError("there is no program to run; put it behind the host and --")
        program, *rest = parsed_args.command
        return self.post(
            parsed_args,
            plugin=PLUGIN,
            method=METHOD,
            parameters={"command": program, "args": rest},
        )
