"""``lab plan …``: many cases in one order, and one report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labapi_client.cli import outcome
from labapi_client.cli.arguments import new_file, seconds
from labapi_client.cli.command import Fields, LabCommand, LabShow, NewestFirst, Rows, UsageError
from labapi_client.cli.placement import obstacles
from labapi_client.cli.program import INTERRUPTED, USAGE
from labapi_client.cli.running import STATUS_HELP
from labapi_client.cli.terminal import is_terminal, plain
from labapi_client.exceptions import LabError

if TYPE_CHECKING:
    from labapi_client.plan_tree import Plan
    from labapi_client.waiting import WouldRun

COLUMNS = ("id", "name", "state", "result", "created_at", "finished_at")
SHOWN = 3  # hosts of an entry that are named
FORMATS = ("txt", "html", "xml")


class _Watching(LabCommand):
    """A command that shows a plan until it is finished."""

    epilog = STATUS_HELP

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the options that say how it is waited for."""
        parser = super().get_parser(prog_name)
        self.waiting = parser.add_argument_group("how it is waited for")
        self.waiting.add_argument(
            "--wait",
            type=seconds,
            metavar="SECONDS",
            help="wait at most so long, then leave it running; the exit status is 2 then",
        )
        self.waiting.add_argument(
            "--junit", type=new_file, metavar="FILE", help="write the report for a CI system"
        )
        self.waiting.add_argument(
            *("-f", "--format"),
            choices=("json",),
            help="print the plan with all its entries when it has ended",
        )
        return parser

    def watch(self, args: argparse.Namespace, plan: Plan) -> int:
        """Show a plan until it is finished; return the exit status that it stands for."""
        from labapi_client.cli.interrupts import Left
        from labapi_client.cli.plan_watch import PlanWatch

        try:
            ended = PlanWatch(self, longest=args.wait).until_finished(plan)
        except (Left, LabError) as why:
            self.say(self.way_back(f"plan wait {plan.id}", f"plan cancel {plan.id}"))
            if isinstance(why, LabError):
                raise
            return INTERRUPTED
        self.say(outcome.plan_sentence(ended))
        if args.junit is not None:
            args.junit.write_bytes(self.lab.plans.report(plan.id, "xml"))
        if args.format is not None:
            self.app.stdout.write(_json(self.lab.plans.get(plan.id)))
        return outcome.status([ended])


class _Starting(_Watching):
    """A command that starts a plan."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the option --detach."""
        parser = super().get_parser(prog_name)
        self.waiting.add_argument(
            "--detach", action="store_true", help="print the id of the plan and do not wait"
        )
        return parser

    def started(self, args: argparse.Namespace, plan: Plan) -> int:
        """Watch a plan as the options say, or print its id."""
        if args.detach:
            self.app.stdout.write(f"{plain(plan.id)}\n")
            return 0
        return self.watch(args, plan)


class PlanRun(_Starting):
    """Run a test plan, and show how far it is until it is finished."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the file of the plan."""
        parser = super().get_parser(prog_name)
        _add_file(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Post the plan."""
        plan = self.lab.plans.create(_given(parsed_args.file), _environment(parsed_args.set))
        return self.started(parsed_args, plan)


class PlanRerun(_Starting):
    """Run a plan again that is finished, as it was posted."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument PLAN and the option --failed."""
        parser = super().get_parser(prog_name)
        _add_plan(parser)
        parser.add_argument(
            "--failed", action="store_true", help="only what did not pass; the rest counts as it is"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Post the same."""
        only = "failed" if parsed_args.failed else None
        return self.started(parsed_args, self.lab.plans.rerun(parsed_args.plan, only))


class PlanWait(_Watching):
    """Wait until a plan is finished."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument PLAN."""
        parser = super().get_parser(prog_name)
        _add_plan(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Wait."""
        return self.watch(parsed_args, self.lab.plans.brief(parsed_args.plan))


class PlanCheck(LabCommand):
    """Say where each entry of a plan could run, and all that is wrong with it; start nothing."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the file of the plan."""
        parser = super().get_parser(prog_name)
        _add_file(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Ask the lab; the exit status is 0 if each entry has a host that would do."""
        given, environment = _given(parsed_args.file), _environment(parsed_args.set)
        entries = self.lab.plans.check(given, environment).entries
        for entry in entries:
            for line in _would_run(entry):
                self.app.stdout.write(f"{plain(line)}\n")
        return USAGE if any(entry.count == 0 for entry in entries) else 0


class PlanList(NewestFirst):
    """List test plans, newest first."""

    things = "plans"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the option --name, too."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--name", help="only plans of this name")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        """Ask the lab, for as many as are wanted."""
        return COLUMNS, self.rows(self.newest(self.lab.plans.list, parsed_args, "name"), COLUMNS)


class PlanShow(LabShow):
    """Show a plan: in a table how each of its steps is, in JSON or YAML all that it has."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument PLAN."""
        parser = super().get_parser(prog_name)
        _add_plan(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Fields:
        """Ask the lab."""
        if parsed_args.formatter != "table":
            return self.fields(self.lab.plans.get(parsed_args.plan))
        from labapi_client.cli.plan_watch import tree

        plan = self.lab.plans.get(parsed_args.plan, output=False)
        names, values = self.fields(plan)
        lines = "\n".join(line.text[2:] for line in tree(plan)[1:])
        shown = zip(names, values, strict=True)
        return names, [lines if name == "testplan" else value for name, value in shown]


class PlanReport(LabCommand):
    """Print the report of a plan: as text, as a page in HTML, or as JUnit's XML."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the options --format and --output."""
        parser = super().get_parser(prog_name)
        _add_plan(parser)
        parser.add_argument(
            "--format", choices=FORMATS, default=FORMATS[0], help="xml is JUnit (txt)"
        )
        parser.add_argument(
            *("-o", "--output"),
            type=new_file,
            metavar="FILE",
            help="write it there, do not print it",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask the lab."""
        report = self.lab.plans.report(parsed_args.plan, parsed_args.format)
        if parsed_args.output is not None:
            parsed_args.output.write_bytes(report)
            return
        text = report.decode("utf-8", "replace")
        stdout = self.app.stdout
        stdout.write(plain(text, lines=True) if is_terminal(stdout) else text)


class PlanCancel(LabCommand):
    """Cancel plans: what runs is ended, what is always to run still does."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the arguments PLAN."""
        parser = super().get_parser(prog_name)
        _add_plan(parser, nargs="+", dest="plans")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Tell the lab."""
        return self.each(parsed_args.plans, self._cancel)

    def _cancel(self, plan_id: str) -> None:
        plan = self.lab.plans.cancel(plan_id)
        self.say(f"{plan.id} is {plan.state}")


def _add_plan(parser: argparse.ArgumentParser, **how: Any) -> None:
    how.setdefault("dest", "plan")
    parser.add_argument(metavar="PLAN", help="the id of a plan", **how)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="the plan, in JSON or YAML; - is standard input"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="a value in place of one in the plan's environment: Data:STA1=lab-1; can be given"
        " several times",
    )


def _given(file: str) -> Path | bytes:
    from labapi_client.documents import MAX_FILE

    return sys.stdin.buffer.read(MAX_FILE + 1) if file == "-" else Path(file)


def _environment(settings: list[str]) -> dict[str, str]:
    """Return what stands in place of values of the environment, by their path.

    :raises UsageError: a setting is none, or one is there twice
    """
    found: dict[str, str] = {}
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not path or not equals:
            raise UsageError(f"{setting!r} sets nothing; expected PATH=VALUE: Data:STA1=lab-1")
        if path in found:
            raise UsageError(f"{path} is set twice")
        found[path] = value
    return found


def _would_run(entry: WouldRun) -> Iterator[str]:
    """Say where an entry could run, or what turns hosts away."""
    if entry.hosts is None:
        yield f"{entry.path}: there was no time to look"
    elif entry.hosts:
        first = ", ".join(f"{host.host} ({host.free} free)" for host in entry.hosts[:SHOWN])
        more = (entry.count or 0) - SHOWN
        yield f"{entry.path}: {first}" + (f" and {more} more" if more > 0 else "")
    else:
        yield f"{entry.path}: no host"
        yield from (f"  {line}" for line in obstacles(entry.turned_away, entry.nearest))


def _json(plan: Plan) -> str:
    import json

    import msgspec

    return f"{json.dumps(msgspec.to_builtins(plan), indent=2)}\n"
