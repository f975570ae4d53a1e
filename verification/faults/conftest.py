"""The database under test, and the table of figures at the end."""

import pytest

from console.config import Settings
from testkit.databases import POSTGRESQL
from verification.faults.databases import Database
from verification.faults.figures import PROPERTY, Figures, form, table


@pytest.fixture
def database(engine: str, settings: Settings, request: pytest.FixtureRequest) -> Database:
    """Return a fresh database of each engine."""
    return Database(settings, request.getfixturevalue("cluster") if engine == POSTGRESQL else None)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Return what notes a figure for the table."""
    return lambda what, value: request.node.user_properties.append((PROPERTY, (what, value)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest, so that no worker is left alone with it in the end."""
    items.sort(key=lambda item: item.path.stem not in ("test_races", "test_stale"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, where full forms ran."""
    stats = terminalreporter.stats
    reports = [
        item for outcome in ("passed", "failed") for item in stats.get(outcome, []) if item.when == "call"
    ]
    if any(form(report) == "full" for report in reports):
        terminalreporter.section("figures")
        for line in table(reports):
            terminalreporter.write_line(line)
