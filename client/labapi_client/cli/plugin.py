"""``lab plugin list``: what can be run."""

from __future__ import annotations

import argparse
from collections import defaultdict

from labapi_client.cli import words
from labapi_client.cli.command import LabLister, Rows


class PluginList(LabLister):
    """List what can be run: plugins, their methods, and on how many hosts."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the option --host."""
        parser = super().get_parser(prog_name)
        host = parser.add_argument("--host", metavar="HOST", help="only what this host can run")
        words.complete(host, words.hosts)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        """Ask the lab; of hosts that describe a method differently, the first one is heard."""
        slaves = self.lab.slaves
        asked = slaves.list() if parsed_args.host is None else [slaves.get(parsed_args.host)]
        described: dict[tuple[str, str], str] = {}
        hosts: defaultdict[tuple[str, str], int] = defaultdict(int)
        for slave in asked:
            for plugin, methods in (slave.compute_node_method or {}).items():
                for method, description in methods.items():
                    described.setdefault((plugin, method), description)
                    hosts[plugin, method] += 1
        rows = [[*what, hosts[what], described[what]] for what in sorted(described)]
        return ("plugin", "method", "hosts", "description"), rows
