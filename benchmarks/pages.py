"""The inbox page with its badges, and the link form: beside peers and a floor, deep in a list, as data grows.

Cold: every run gets the next older page, of rows that were not asked for before. Warm: the newest page, again
and again.
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from pathlib import Path

from sqlalchemy.engine import URL

from benchmarks import contenders, dataset
from benchmarks.clock import ROUNDS, Timing, interleave
from benchmarks.contenders import Console, Pages
from benchmarks.databases import sqlite_url
from benchmarks.report import Result, against
from testkit.statements import statements as noted
from testkit.statements import without_control

SMALL, MEDIUM, LARGE = 10_000, 1_000_000, 10_000_000
DEEP_PAGE = 1000
MAX_STATEMENTS = {"list": 3, "badges": 3, "detail": 4, "link form": 6}

_PEERS = {"Flask-Admin": 16, "Django admin": 28}
_PEERS_AT_LARGE = 60
_TIMES_THE_FLOOR = 6
_COLD = 1.15
_LINK_FORM = 1
_DEEP = 1.1
_GROWTH = 1.1


def measure(files: Mapping[int, Path], rounds: int = ROUNDS) -> list[Result]:
    """Measure on SQLite at all sizes, interleaved; return the lines."""
    urls = {size: sqlite_url(path) for size, path in files.items()}
    middle = max(size for size in files if size <= MEDIUM)
    runs: dict[str, Callable[[], object]] = {}
    for size, url in urls.items():
        console = contenders.console_pages(url, size)
        runs[f"console at {size:,}"] = _warm(console)
        if size >= middle:
            runs[f"console at {size:,}, cold"] = _cold(console)
        if size == middle:
            deep = min(DEEP_PAGE, len(contenders.places(size))) - 1
            runs["deep page"] = partial(console, deep)
    runs["link form, cold"] = _cold(contenders.link_form(urls[middle], middle))
    floor = contenders.floor(files[middle], middle)
    runs["floor"], runs["floor, cold"] = _warm(floor), _cold(floor)
    for name, peer in _peers({size: url for size, url in urls.items() if size >= middle}).items():
        runs[name], runs[f"{name}, cold"] = _warm(peer), _cold(peer)
    return _results(sorted(files), middle, interleave(runs, rounds))


def measure_postgres(url: URL, size: int, rounds: int = ROUNDS) -> list[Result]:
    """Measure on PostgreSQL at one size, in wall time: CPU time would leave out the server's."""
    contending = {"console": contenders.console_pages(url, size), **_peers({size: url})}
    timings = interleave({name: _cold(pages) for name, pages in contending.items()}, rounds)
    ours = timings.pop("console")
    return [
        Result(
            f"PostgreSQL: {name} takes, cold, wall time",
            other.wall_ms / ours.wall_ms,
            "×",
            made_from=against(ours, other, name),
        )
        for name, other in timings.items()
    ]


def statements(url: URL, size: int) -> list[Result]:
    """Count the SQL statements of each kind of page, the one that loads the session's user included."""
    console = Console(url)
    desk = Console(url, dataset.operator_email(0))
    number = next(dataset.of_largest(size))
    conversation_id = dataset.conversation_id(number)
    pages = [
        ("list", "50", console, "/conversations"),
        ("list", "1", console, f"/conversations?q={dataset.identifier(number)}"),
        ("badges", "50", console, contenders.badges_address(console.visitor.get("/conversations"))),
        ("badges", "1", console, f"/badges?id={conversation_id}"),
        ("detail", "1", console, f"/conversations/{conversation_id}"),
        ("link form", "50", desk, f"/links/{conversation_id}"),
        ("link form", "1", desk, f"/links/{conversation_id}?find={dataset.identifier(number)}"),
    ]
    return [
        Result(
            f"SQL statements: {name}, {rows} rows",
            _count(visitor, address),
            "",
            at_most=MAX_STATEMENTS[name],
        )
        for name, rows, visitor, address in pages
    ]


def _warm(pages: Pages) -> Callable[[], object]:
    return lambda: pages(0)


def _cold(pages: Pages) -> Callable[[], object]:
    # From the second page on: the first is the one that is asked for again and again.
    numbers = count(1)
    return lambda: pages(next(numbers))


def _peers(databases: Mapping[int, URL]) -> dict[str, Pages]:
    django = contenders.django_admin({str(size): url for size, url in databases.items()})
    pages = {f"Flask-Admin at {size:,}": contenders.flask_admin(url) for size, url in databases.items()}
    return pages | {f"Django admin at {size:,}": django[str(size)] for size in databases}


def _results(sizes: list[int], middle: int, timings: dict[str, Timing]) -> list[Result]:
    cold, warm = timings[f"console at {middle:,}, cold"], timings[f"console at {middle:,}"]

    def times(what: str, part: Timing, whole: Timing, name: str, **budget: float) -> Result:
        return Result(what, part.cpu_ms / whole.cpu_ms, "×", made_from=against(part, whole, name), **budget)

    results = []
    for size in (size for size in sizes if size >= middle):
        for name, at_least in _PEERS.items():
            for state, budget in (
                (", cold", {MEDIUM: at_least, LARGE: _PEERS_AT_LARGE}.get(size)),
                ("", None),
            ):
                other, ours = timings[f"{name} at {size:,}{state}"], timings[f"console at {size:,}{state}"]
                made_from = against(ours, other, name)
                what = f"{name} takes at {size:,}{state or ', warm'}"
                results.append(
                    Result(what, other.cpu_ms / ours.cpu_ms, "×", at_least=budget, made_from=made_from)
                )
    floor, floor_warm, deep = timings["floor, cold"], timings["floor"], timings["deep page"]
    results += [
        times(
            "page and badges, cold, times the bare function", cold, floor, "bare", at_most=_TIMES_THE_FLOOR
        ),
        times("page and badges, warm, times a bare function", warm, floor_warm, "bare"),
        times("page and badges, cold, times warm", cold, warm, "warm", at_most=_COLD),
        times(
            "link form, times page and badges, both cold",
            timings["link form, cold"],
            cold,
            "page and badges",
            at_most=_LINK_FORM,
        ),
        times(f"page {DEEP_PAGE}, times page 1", deep, warm, "page 1", at_most=_DEEP),
    ]
    least = timings[f"console at {sizes[0]:,}"]
    return results + [
        times(
            f"{size:,} conversations, times {sizes[0]:,}",
            timings[f"console at {size:,}"],
            least,
            f"{sizes[0]:,}",
            at_most=_GROWTH,
        )
        for size in sizes[1:]
    ]


def _count(console: Console, address: str) -> int:
    console.visitor.get(address)
    with console.app.app_context(), noted() as seen:
        console.visitor.get(address)
    return len(without_control(seen))
