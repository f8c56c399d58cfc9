"""``labapi-manage pipeline``: what a Paste file comes to, and whether it can work."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from cliff.lister import Lister

from labapi import config
from labapi.api import load, policy
from labapi.cmd.manage import Operator
from labapi.exceptions import ConfigError
from labapi.pipeline.check import check
from labapi.pipeline.check.check import Report

COLUMNS = ("URL", "Part", "Option", "Value", "From")


class _OfFile(Operator):
    """A command about a Paste file."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the options --paste-config, --api-host and --api-port."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--paste-config",
            metavar="FILE",
            type=Path,
            help="the Paste file; the default is the one that labapi.conf names",
        )
        for name, what in (("host", "address"), ("port", "port")):
            option = f"--api-{name}"
            parser.add_argument(option, help=f"the {what} that the API is started with, if any")
        return parser

    def examined(self, parsed_args: argparse.Namespace) -> tuple[Path, Report]:
        """Look at the file, with the configuration that the API has."""
        args = list(self.app.arguments)
        for name in ("host", "port"):
            value = getattr(parsed_args, f"api_{name}")
            args += [f"--api-{name}", value] if value is not None else []
        self.app.conf = config.load(args, prog="labapi-api", description="")
        path = parsed_args.paste_config or load.find(self.conf)
        return path, load.examine(self.conf, path)


class PipelineShow(_OfFile, Lister):
    """List every filter and application with the options that it runs with.

    The rows are in the order in which a request passes them. From is the section that an option is
    from; "set" after it marks what the section sets over [DEFAULT]. Secrets are not shown.
    """

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterable[tuple[str, ...]]]:
        """Assemble the file, and mention what is wrong with it."""
        path, report = self.examined(parsed_args)
        for finding in report.findings:
            self.app.stderr.write(f"{finding}\n")
        if report.assembly is None:
            raise ConfigError(f"{path}: nothing can be assembled from this file")
        return COLUMNS, (
            (line.url, line.part.name, line.option.name, line.option.value, line.option.origin)
            for line in check.lines(report.assembly)
        )


class PipelineCheck(_OfFile):
    """Print everything that is wrong with the Paste file and the policy file.

    Each line is FILE: [SECTION]: OPTION: what is wrong and what was expected. The exit status is 1
    if the API does not start with these files. It does start with mere warnings.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Look, and build nothing."""
        path, report = self.examined(parsed_args)
        said = [str(finding) for finding in report.findings]
        failed = bool(report.errors)
        try:
            policy.load(self.conf)
        except ConfigError as error:
            said.append(str(error))
            failed = True
        for line in said or [f"{path}: nothing is wrong with it"]:
            self.app.stdout.write(f"{line}\n")
        return int(failed)
