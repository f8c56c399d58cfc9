"""Samples and the tables that they end up in."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

NOTHING = "-"


@dataclass
class Samples:
    """Repeated measurements of one thing.

    :ivar digits: how many to show after the point
    """

    digits: int = 1
    values: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        """Add a measurement."""
        self.values.append(value)

    @property
    def median(self) -> float:
        """The median; nan before the first measurement."""
        return statistics.median(self.values) if self.values else float("nan")

    def __str__(self) -> str:
        """Return the median and, of several measurements, the smallest and the largest."""
        if not self.values:
            return NOTHING
        text = f"{self.median:,.{self.digits}f}"
        if len(self.values) > 1:
            text += f" ({min(self.values):,.{self.digits}f} to {max(self.values):,.{self.digits}f})"
        return text

    def over(self, reference: Samples) -> str:
        """Return the ratio to a reference that was measured in turn with this.

        Rounds are compared one by one, so that what slows the machine down slows both.
        """
        pairs = zip(self.values, reference.values, strict=False)
        ratios = [mine / other for mine, other in pairs if other]
        if not ratios:
            return NOTHING
        return f"{statistics.median(ratios):.2f}"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share (0 to 1) of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table whose columns also line up as plain text."""
    cells = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(columns))]
    lines = [
        "| "
        + " | ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in cells
    ]
    rule = [
        "-" * (width + 2) if not at else "-" * (width + 1) + ":" for at, width in enumerate(widths)
    ]
    lines.insert(1, f"|{'|'.join(rule)}|")
    return "\n".join(lines)
