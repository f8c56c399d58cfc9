"""The check of a Paste file as a whole, for the start of the API and for operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from labapi.pipeline.check import advice, options, order
from labapi.pipeline.check.finding import Finding
from labapi.pipeline.check.parts import Assembly, Part
from labapi.pipeline.check.tree import Reader

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a check.

    :ivar assembly: None if not even its shape can be told
    :ivar findings: in the order in which Paste would meet them, each once
    """

    assembly: Assembly | None
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The mistakes, with which the API does not start."""
        return tuple(finding for finding in self.findings if finding.fatal)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The warnings, with which the API starts."""
        return tuple(finding for finding in self.findings if not finding.fatal)


@dataclass(frozen=True, slots=True)
class Line:
    """One option of one part of a pipeline; the first of a part says what it is."""

    url: str
    part: Part
    option: options.Shown


def examine(
    path: str,
    given: Mapping[str, str],
    server: Mapping[str, str] = _NOTHING,
    texts: dict[str, str] | None = None,
) -> Report:
    """Read a file and look for everything that is wrong with it, without building anything.

    :param given: what the program adds to ``[DEFAULT]``
    :param server: what else it says of itself, for advice only: ``workers``
    :param texts: where to put the texts of the files, by their paths
    """
    reader = Reader(given, {} if texts is None else texts)
    assembly = reader.read(path)
    findings = list(reader.findings)
    if assembly is not None:
        parts = list(_parts(assembly))
        uses = Counter(part.place for part in parts)
        for part in parts:
            findings += options.check(part, {**server, "uses": str(uses[part.place])})
        for chain in assembly.chains():
            findings += order.check(chain)
            findings += advice.check(chain)
    return Report(assembly, tuple(dict.fromkeys(findings)))


def lines(assembly: Assembly, url: str = "/") -> Iterator[Line]:
    """Return the options of all parts, in the order in which a request passes them."""
    for part in (*assembly.filters, assembly.end):
        yield from (Line(url, part, option) for option in options.effective(part))
    for prefix, mount in assembly.mounts.items():
        yield from lines(mount, url.rstrip("/") + prefix)


def _parts(assembly: Assembly) -> Iterator[Part]:
    yield from assembly.filters
    yield assembly.end
    for mount in assembly.mounts.values():
        yield from _parts(mount)
