"""The inbox page and its badges: against peers and the floor, deep in the list, and as the data grows."""

from collections.abc import Callable, Mapping
from itertools import cycle, islice
from pathlib import Path

from sqlalchemy.engine import URL

from benchmarks import contenders, dataset
from benchmarks.clock import ROUNDS, Timing, interleave
from benchmarks.contenders import Console
from benchmarks.databases import sqlite_url
from benchmarks.report import Result, against, milliseconds
from console.conversations.cursors import Cursor
from console.conversations.queries import PAGE_SIZE
from testkit.statements import statements as noted
from testkit.statements import without_control

SMALL, MEDIUM, LARGE = 10_000, 1_000_000, 10_000_000
DEEP_PAGE = 1000

_PEERS = {"Flask-Admin": 12, "Django admin": 16}
_PEERS_AT_LARGE = 50
_TIMES_THE_FLOOR = 15
_DEEP = 1.1
_GROWTH = 1.2


def measure(files: Mapping[int, Path], rounds: int = ROUNDS) -> tuple[list[Result], dict[str, Timing]]:
    """Measure on SQLite at all sizes, interleaved; return the lines and every timing by its name."""
    urls = {size: sqlite_url(path) for size, path in files.items()}
    runs: dict[str, Callable[[], object]] = {}
    for size, url in urls.items():
        runs[f"console at {size:,}"] = Console(url).page_and_badges
    middle = max(size for size in files if size <= MEDIUM)
    runs[f"page {DEEP_PAGE}"] = _deep_page(urls[middle], middle)
    runs["new pages"] = _new_pages(urls[middle], middle)
    runs.update(_peers({str(size): url for size, url in urls.items()}))
    runs["floor"] = contenders.floor(files[middle])
    timings = interleave(runs, rounds)
    return _results(sorted(files), middle, timings), timings


def measure_postgres(url: URL, size: int, rounds: int = ROUNDS) -> list[Result]:
    """Measure on PostgreSQL at one size, in wall time: CPU time would leave out the server's."""
    runs = {"console": Console(url).page_and_badges, **_peers({str(size): url})}
    timings = interleave(runs, rounds)
    ours = timings["console"]
    results = []
    for name in _PEERS:
        other = timings[f"{name} at {size:,}"]
        made_from = against(ours, other, name)
        times = other.wall_ms / ours.wall_ms
        results.append(Result(f"PostgreSQL: {name} takes, wall time", times, "×", made_from=made_from))
    return results


def statements(url: URL, size: int) -> list[Result]:
    """Count the SQL statements of each kind of page, the one that loads the session's user included."""
    console = Console(url)
    desk = Console(url, dataset.operator_email(0))
    number = next(dataset.of_largest(size))
    one = dataset.conversation_id(number)
    badges = contenders.badges_address(console.visitor.get("/conversations"))
    pages = [
        ("list of 50", console, "/conversations", 3),
        ("badges of 50", console, badges, 3),
        ("badge of 1", console, f"/badges?id={one}", 3),
        ("detail", console, f"/conversations/{one}", 4),
        ("link form", desk, f"/links/{one}", 6),
    ]
    return [
        Result(f"SQL statements: {name}", _count(visitor, address), "", at_most=most)
        for name, visitor, address, most in pages
    ]


def _peers(databases: Mapping[str, URL]) -> dict[str, Callable[[], object]]:
    django = contenders.django_admin(databases)
    runs: dict[str, Callable[[], object]] = {}
    for name, url in databases.items():
        runs[f"Flask-Admin at {int(name):,}"] = contenders.flask_admin(url)
        runs[f"Django admin at {int(name):,}"] = django[name]
    return runs


def _deep_page(url: URL, size: int) -> Callable[[], object]:
    """Get page 1000, or the last full one of a small data set, by the cursor the page before it ends with."""
    numbers = list(islice(dataset.of_largest(size), (DEEP_PAGE - 1) * PAGE_SIZE))
    last = numbers[len(numbers) - 1 if len(numbers) == (DEEP_PAGE - 1) * PAGE_SIZE else -2 * PAGE_SIZE]
    cursor = Cursor(dataset.moment(last, size), dataset.conversation_id(last))
    console = Console(url)
    return lambda: console.page_and_badges(f"/conversations?before={cursor}")


def _new_pages(url: URL, size: int) -> Callable[[], object]:
    """Get another page each time, so that none of its rows was drawn before."""
    console = Console(url)
    lasts = islice(dataset.of_largest(size), PAGE_SIZE - 1, None, PAGE_SIZE)
    # Round and round only where the data set has fewer pages than there are runs.
    cursors = cycle(Cursor(dataset.moment(last, size), dataset.conversation_id(last)) for last in lasts)
    return lambda: console.page_and_badges(f"/conversations?before={next(cursors)}")


def _results(sizes: list[int], middle: int, timings: dict[str, Timing]) -> list[Result]:
    ours = timings[f"console at {middle:,}"]
    results = []
    for name, times in _PEERS.items():
        for size in sizes:
            other, here = timings[f"{name} at {size:,}"], timings[f"console at {size:,}"]
            results.append(
                Result(
                    f"{name} takes, at {size:,}",
                    other.cpu_ms / here.cpu_ms,
                    "×",
                    at_least={MEDIUM: times, LARGE: _PEERS_AT_LARGE}.get(size),
                    made_from=against(here, other, name),
                )
            )
    results.append(
        Result(
            "page and badges, times the bare function",
            ours.cpu_ms / timings["floor"].cpu_ms,
            "×",
            at_most=_TIMES_THE_FLOOR,
            made_from=against(ours, timings["floor"], "bare"),
        )
    )
    deep = timings[f"page {DEEP_PAGE}"]
    results.append(
        Result(
            f"page {DEEP_PAGE}, times page 1",
            deep.cpu_ms / ours.cpu_ms,
            "×",
            at_most=_DEEP,
            made_from=milliseconds(deep),
        )
    )
    new = timings["new pages"]
    results.append(
        Result(
            "pages not drawn before, times page 1",
            new.cpu_ms / ours.cpu_ms,
            "×",
            made_from=milliseconds(new),
        )
    )
    for size in sizes[1:]:
        here, least = timings[f"console at {size:,}"], timings[f"console at {sizes[0]:,}"]
        results.append(
            Result(
                f"{size:,} conversations, times {sizes[0]:,}",
                here.cpu_ms / least.cpu_ms,
                "×",
                at_most=_GROWTH,
                made_from=against(here, least, f"{sizes[0]:,}"),
            )
        )
    return results


def _count(console: Console, address: str) -> int:
    console.visitor.get(address)
    with console.app.app_context(), noted() as seen:
        console.visitor.get(address)
    return len(without_control(seen))
