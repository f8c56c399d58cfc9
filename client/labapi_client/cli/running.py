"""What commands that run cases have in common: options, watching, and the exit status."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labapi_client.cli import outcome, placement, words
from labapi_client.cli.arguments import new_file, seconds
from labapi_client.cli.command import LabCommand
from labapi_client.cli.program import INTERRUPTED, USAGE
from labapi_client.cli.terminal import plain
from labapi_client.exceptions import LabError

if TYPE_CHECKING:
    from labapi_client.managers.testcases import Case

STATUS_HELP = """The exit status is how the case ended: 0 PASS, 1 FAIL, 2 ERROR (the lab's fault)
or wrong usage, 3 TIMEOUT, 4 CANCELLED, and of several cases the worst; 130 if Ctrl-C left it."""


class Watching(LabCommand):
    """A command that shows cases until they are finished."""

    epilog = STATUS_HELP

    def watch(
        self,
        cases: Sequence[Case],
        *,
        output: bool = True,
        longest: float | None = None,
        junit: Path | None = None,
    ) -> int:
        """Show cases one after the other; return the exit status that they stand for.

        :param longest: seconds to wait at most, None for no end
        :param junit: the file to write what CI systems read
        """
        from labapi_client.cli.interrupts import Left
        from labapi_client.cli.watch import Watch

        watch = Watch(self, output=output, longest=longest)
        ended = []
        for case in cases:
            if len(cases) > 1:
                self.say(f"== {case.plugin}.{case.method} on {case.host or 'a host'} ({case.id})")
            try:
                ended.append(watch.until_finished(case))
            except Left:
                self._say_way_back(cases[len(ended) :])
                return INTERRUPTED
            except LabError:
                self._say_way_back(cases[len(ended) :])
                raise
            self.say(outcome.sentence(ended[-1]))
        if junit is not None:
            outcome.write_junit(junit, ended)
        return outcome.status(ended)

    def _say_way_back(self, left: Sequence[Case]) -> None:
        which = " ".join(case.id for case in left)
        self.say(self.way_back(f"testcase wait --output {which}", f"testcase cancel {which}"))


class Running(Watching):
    """A command that posts cases."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the options that say how to run and how to wait."""
        parser = super().get_parser(prog_name)
        placement.add_options(parser)
        group = parser.add_argument_group("how it runs")
        group.add_argument(
            "--timeout",
            type=seconds,
            metavar="SECONDS",
            help="how long the method may run (as the lab says: 600)",
        )
        group.add_argument(
            "--priority",
            type=int,
            metavar="N",
            help="-100 to 100 (0): of the cases that wait, the highest is first",
        )
        group.add_argument(
            "--rerun-on-loss", action="store_true", help="run it again if its agent is lost"
        )
        group = parser.add_argument_group("how it is waited for")
        how = group.add_mutually_exclusive_group()
        how.add_argument(
            "--dry-run", action="store_true", help="only say where it could run, best first"
        )
        how.add_argument(
            "--detach", action="store_true", help="print the id of the case and do not wait"
        )
        how.add_argument(
            "--wait",
            type=seconds,
            metavar="SECONDS",
            help="wait at most so long, then leave it running; the exit status is 2 then",
        )
        group.add_argument(
            "-f",
            "--format",
            choices=["json"],
            help="print the case when it is finished, with the beginning of its output, instead of"
            " all output as it comes; of several cases a list",
        )
        group.add_argument(
            "--junit", type=new_file, metavar="FILE", help="write the results for a CI system"
        )
        return parser

    def add_host(self, parser: argparse.ArgumentParser, *names: str, **how: Any) -> None:
        """Add the argument that names a host."""
        found = parser.add_argument(*names, metavar="HOST", **how)
        words.complete(found, words.hosts)

    def how(self, args: argparse.Namespace) -> dict[str, Any]:
        """Return what the options say of how it runs."""
        return {
            "timeout": args.timeout,
            "priority": args.priority,
            "rerun_on_loss": args.rerun_on_loss or None,
        }

    def post(self, args: argparse.Namespace, **case: Any) -> int:
        """Post what the options say of a case, or of several; watch as they say.

        :param case: its plugin, method and parameters, and what else wins over the options
        """
        placement.check(args)
        posted = {"host": args.host, **placement.asked(args), **self.how(args), **case}
        if args.dry_run:
            return self._would_run(self.lab.testcases.dry_run(**posted))
        return self.posted(args, self.lab.testcases.create_several(**posted))

    def _would_run(self, found: Any) -> int:
        """Print where a case could run; return 0 if there is such a host."""
        for host in found.hosts:
            self.app.stdout.write(f"{plain(host.host)} ({host.free} free)\n")
        for line in placement.obstacles(found.turned_away, found.nearest):
            self.app.stdout.write(f"{plain(line)}\n")
        return 0 if found.count else USAGE

    def posted(self, args: argparse.Namespace, cases: Sequence[Case]) -> int:
        """Watch cases as the options say, or print their ids."""
        if args.detach:
            for case in cases:
                self.app.stdout.write(f"{plain(case.id)}\n")
            return 0
        shown = args.format is None
        status = self.watch(cases, output=shown, longest=args.wait, junit=args.junit)
        if not shown and status != INTERRUPTED:
            found = [self._as_json(case) for case in cases]
            several = args.count is not None or args.hosts is not None
            json.dump(found if several else found[0], self.app.stdout, indent=2)
            self.app.stdout.write("\n")
        return status

    def _as_json(self, case: Case) -> Any:
        import msgspec

        return msgspec.to_builtins(self.lab.testcases.get(case.id))
