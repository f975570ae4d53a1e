"""What was measured, against what was promised, as a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.clock import Timing


@dataclass(frozen=True)
class Result:
    """One line: a figure, what it has to be, and what it was made from."""

    what: str
    figure: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    made_from: str = ""

    @property
    def holds(self) -> bool:
        """Say whether the figure is what it has to be."""
        return not (
            (self.at_most is not None and self.figure > self.at_most)
            or (self.at_least is not None and self.figure < self.at_least)
        )

    @property
    def cells(self) -> tuple[str, ...]:
        """Return the line's cells."""
        budget = ""
        if self.at_most is not None:
            budget = f"≤ {_number(self.at_most)}{self.unit}"
        elif self.at_least is not None:
            budget = f"≥ {_number(self.at_least)}{self.unit}"
        verdict = ("pass" if self.holds else "MISS") if budget else ""
        return self.what, f"{_number(self.figure)}{self.unit}", budget, verdict, self.made_from


HEADINGS = ("what", "measured", "budget", "", "made from")


def table(results: Sequence[Result]) -> str:
    """Return the results as text in columns."""
    rows = [HEADINGS, *(result.cells for result in results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def milliseconds(timing: Timing) -> str:
    """Write a timing: median CPU, median wall, the spread of the CPU time."""
    return f"{timing.cpu_ms:.2f} ms CPU ±{timing.spread / 2:.0%} ({timing.wall_ms:.2f} ms wall)"


def against(ours: Timing, other: Timing, name: str) -> str:
    """Write two timings side by side."""
    return f"{milliseconds(ours)}; {name} {milliseconds(other)}"


def _number(figure: float) -> str:
    return f"{figure:.3g}" if figure < 1000 else f"{figure:,.0f}"
