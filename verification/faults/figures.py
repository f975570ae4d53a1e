"""The two forms of a test, and the table of what the tests counted."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import cast

import pytest

PROPERTY = "figure"

Figures = Callable[[str, object], None]


def sizes(*, short: object, full: object) -> pytest.MarkDecorator:
    """Give a test its `size`: one for `make test`, and one for `make test-faults`."""
    return pytest.mark.parametrize(
        "size", [pytest.param(short, id="short"), pytest.param(full, id="full", marks=pytest.mark.faults)]
    )


def form(report: pytest.TestReport) -> str:
    """Return which form of a test ran: short, full, or only, where there is one."""
    return next(
        (name for name in ("short", "full") if re.search(rf"[\[-]{name}[\]-]", report.nodeid)), "only"
    )


def table(reports: Iterable[pytest.TestReport]) -> Iterator[str]:
    """Give the figures that tests recorded, short forms left out, a line each beneath their test."""
    for report in sorted(reports, key=lambda item: item.nodeid):
        figures = [value for name, value in report.user_properties if name == PROPERTY]
        if figures and form(report) != "short":
            _, _, test = report.nodeid.partition("::test_")
            yield f"{test.replace('_', ' ')}  {report.duration:.0f} s"
            for what, value in cast(list[tuple[str, object]], figures):
                yield f"    {value:>10}  {what}"
