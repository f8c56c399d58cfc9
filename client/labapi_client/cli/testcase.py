"""``lab testcase …``: one method on one host, once."""

from __future__ import annotations

import argparse
from typing import Any

from labapi_client.cli import outcome, parameters, placement, words
from labapi_client.cli.command import Fields, LabCommand, LabShow, NewestFirst, Rows
from labapi_client.cli.running import Running, Watching
from labapi_client.exceptions import NotFound

COLUMNS = ("id", "plugin", "method", "host", "state", "result", "created_at")


class TestcaseRun(Running):
    """Run a method of a plugin on a host, and show its output until it is finished."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the method and its parameters."""
        parser = super().get_parser(prog_name)
        self.add_host(parser, "--host", help="where it runs: a name or an IP address")
        plugin = parser.add_argument("plugin", metavar="PLUGIN", help="lab plugin list has them")
        words.complete(plugin, words.plugins)
        method = parser.add_argument("method", metavar="METHOD", help="a method of the plugin")
        words.complete(method, words.methods)
        parser.add_argument("parameters", nargs="*", metavar="PARAMETER", help=parameters.HELP)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Post the case."""
        schema = self._schema(parsed_args)
        given = parameters.read(parsed_args.parameters, schema)
        parameters.check(given, schema)
        return self.post(
            parsed_args,
            plugin=parsed_args.plugin,
            method=parsed_args.method,
            parameters=given,
        )

    def _schema(self, args: argparse.Namespace) -> Any:
        """Return the schema of the method, None if it is not known; then the lab judges alone.

        Where no host is named, it is that of the first one that has the method.
        """
        slaves = self.lab.slaves
        host = args.host
        if host is None:
            wanted = {"plugin": args.plugin, "method": args.method}
            some = next(slaves.list(detail=False, limit=1, **wanted), None)
            host = some and some.uuid
        try:
            offered = slaves.plugins(host) if host else {}
        except NotFound:
            return None
        method = offered.get(args.plugin, {}).get(args.method)
        return None if method is None else method.schema


class TestcaseRerun(Running):
    """Run a case again, as it was posted."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument CASE."""
        parser = super().get_parser(prog_name)
        self.add_host(parser, "--host", help="where it runs, if not where it was to run before")
        _add_case(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Post the same; an option wins over what the case had."""
        case = self.lab.testcases.get(parsed_args.case, output=False)
        had = {name: getattr(case, name) for name in ("timeout", "priority", "rerun_on_loss")}
        where = {"host": case.host} if case.placement is None else dict(case.placement)
        if parsed_args.host is not None:
            where = {"host": parsed_args.host}
        elif asked := placement.asked(parsed_args):
            where = asked
        chosen = {name: value for name, value in self.how(parsed_args).items() if value is not None}
        return self.post(
            parsed_args,
            plugin=case.plugin,
            method=case.method,
            parameters=case.parameters,
            **({"host": None} | where | had | chosen),
        )


class TestcaseList(NewestFirst):
    """List cases, newest first."""

    things = "cases"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the options that say where and what, too."""
        parser = super().get_parser(prog_name)
        host = parser.add_argument("--host", metavar="HOST", help="only cases of this host")
        words.complete(host, words.hosts)
        plugin = parser.add_argument("--plugin", help="only cases of this plugin")
        words.complete(plugin, words.plugins)
        method = parser.add_argument("--method", help="only cases of this method")
        words.complete(method, words.methods)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        """Ask the lab, for as many as are wanted."""
        found = self.newest(self.lab.testcases.list, parsed_args, "host", "plugin", "method")
        return COLUMNS, self.rows(found, COLUMNS)


class TestcaseShow(LabShow):
    """Show a case with the beginning of its output."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument CASE."""
        parser = super().get_parser(prog_name)
        _add_case(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Fields:
        """Ask the lab."""
        return self.fields(self.lab.testcases.get(parsed_args.case))


class TestcaseOutput(LabCommand):
    """Print what a case wrote, as it was written."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the options --follow and --offset."""
        parser = super().get_parser(prog_name)
        _add_case(parser)
        parser.add_argument("--follow", action="store_true", help="go on until it is finished")
        parser.add_argument(
            "--offset", type=int, default=0, metavar="BYTES", help="pass over so many bytes"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Print it."""
        cases = self.lab.testcases
        stdout = getattr(self.app.stdout, "buffer", None)
        for piece in cases.output(parsed_args.case, parsed_args.offset, parsed_args.follow):
            if stdout is None:
                self.app.stdout.write(piece.decode("utf-8", "replace"))
            else:
                stdout.write(piece)
                stdout.flush()


class TestcaseCancel(LabCommand):
    """Cancel cases that are not finished."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument CASE."""
        parser = super().get_parser(prog_name)
        _add_case(parser, nargs="+", dest="cases")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Tell the lab."""
        return self.each(parsed_args.cases, self._cancel)

    def _cancel(self, case_id: str) -> None:
        case = self.lab.testcases.cancel(case_id)
        self.say(f"{case.id} is {case.state}")


class TestcaseWait(Watching):
    """Wait until cases are finished."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the option --output."""
        parser = super().get_parser(prog_name)
        _add_case(parser, nargs="+", dest="cases")
        parser.add_argument("--output", action="store_true", help="show what they write, too")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Wait."""
        cases = [self.lab.testcases.get(case, output=False) for case in parsed_args.cases]
        return self.watch(cases, output=parsed_args.output)


class TestcaseWhy(LabCommand):
    """Say why a case waits, or why it ended as it did."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument CASE."""
        parser = super().get_parser(prog_name)
        _add_case(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask the lab."""
        from labapi_client.cli.terminal import plain
        from labapi_client.cli.watch import reasons

        case = self.lab.testcases.get(parsed_args.case)
        if case.state == "queued":
            text = "\n".join(reasons(case))
        elif case.finished:
            text = outcome.sentence(case)
        else:
            text = f"{case.state} on {case.host}" + (f": {case.detail}" if case.detail else "")
        self.app.stdout.write(f"{plain(text, lines=True)}\n")


def _add_case(parser: argparse.ArgumentParser, **how: Any) -> None:
    how.setdefault("dest", "case")
    parser.add_argument(metavar="CASE", help="the id of a case", **how)
