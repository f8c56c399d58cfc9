"""Where a case runs: what may be asked of a host in place of its name."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from labapi_client.cli import words
from labapi_client.cli.arguments import count
from labapi_client.cli.command import UsageError

if TYPE_CHECKING:
    from labapi_client.waiting import Nearest

FIELDS = (
    *("requires", "prefer", "group", "zone", "lease", "same_host_as", "different_host_from"),
    *("count", "hosts", "on_no_host"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that stand in place of a host's name."""
    group = parser.add_argument_group("where it runs, if no host is named")
    group.add_argument(
        "--requires",
        action="append",
        metavar="SENTENCE",
        help="what its host must fulfil: 'rack=r7', 'gpu in (a100, h100)',"
        " 'memory_available_mib >= 4096', '!broken'; can be given several times",
    )
    group.add_argument(
        "--prefer",
        action="append",
        metavar="SENTENCE",
        help="what its host should fulfil; can be given several times",
    )
    group.add_argument("--group", metavar="NAME", help="a host of this group")
    group.add_argument("--zone", metavar="NAME", help="a host of this zone")
    group.add_argument("--lease", metavar="LEASE", help="a host that this lease holds")
    group.add_argument(
        "--same-host-as",
        action="append",
        metavar="CASE",
        help="the host that ran this case; can be given several times",
    )
    group.add_argument(
        "--different-host-from",
        action="append",
        metavar="CASE",
        help="another host than the one that ran this case; can be given several times",
    )
    group.add_argument(
        "--count", type=count, metavar="N", help="so many equal cases, spread over hosts"
    )
    hosts = group.add_argument(
        "--hosts",
        type=_hosts,
        metavar="HOST[,HOST...]|all",
        help="a case on each of these, or on all that can run it",
    )
    words.complete(hosts, words.hosts)
    group.add_argument(
        "--on-no-host",
        choices=("wait", "fail"),
        help="if no host can run it now: wait, even for what no host has ever had, or fail"
        " (without it: wait, but refuse what no host has ever had)",
    )


def asked(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the options ask for, as the lab's fields."""
    given = {name: getattr(args, name) for name in FIELDS}
    return {name: value for name, value in given.items() if value is not None}


def check(args: argparse.Namespace) -> None:
    """Check that the options say where it runs in one way.

    :raises UsageError: they do not
    """
    also = [name for name in asked(args) if name != "on_no_host"]
    if args.host is not None and also:
        option = f"--{also[0].replace('_', '-')}"
        raise UsageError(f"the host is named, so there is nothing to choose: drop it or {option}")


def obstacles(turned_away: Mapping[str, int], nearest: Nearest | None) -> Iterator[str]:
    """Say what stands between a case and its host, a line for each kind.

    :param turned_away: how many hosts each filter turned away
    :param nearest: the host that lacks least
    """
    if turned_away:
        told = ", ".join(f"{count} by {name}" for name, count in sorted(turned_away.items()))
        yield f"hosts turned away: {told}"
    if nearest is None:
        return
    text = f"nearest: {nearest.host}"
    if nearest.lacks:
        text += f"; {'; '.join(nearest.lacks)}"
    if nearest.busy_with:
        text += f"; busy with {len(nearest.busy_with)} cases"
    if nearest.until:
        text += f", the first until {nearest.until:%Y-%m-%d %H:%M:%SZ} at the latest"
    yield text


def _hosts(text: str) -> list[str] | str:
    return text if text == "all" else [name for name in text.split(",") if name]
