"""`make bench`: measure, print the table, and exit 1 where a budget is missed."""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from sqlalchemy.engine import URL

from benchmarks import delivery, identifiers, load, on_postgres, pages, readers, writes
from benchmarks.clock import ROUNDS
from benchmarks.databases import postgres_database, quiet, say, sqlite_copy, sqlite_file, sqlite_url
from benchmarks.report import Result, table
from testkit.postgres import cluster

_QUICK_ROUNDS = 10


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--full", action="store_true", help="10,000,000 conversations as well, and PostgreSQL"
    )
    parser.add_argument("--quick", action="store_true", help="10,000 conversations alone, and fewer rounds")
    parser.add_argument("--load", action="store_true", help="instead: many people and messages at once")
    parser.add_argument("--seconds", type=int, default=300, help="how long --load lasts, 300 if not said")
    parser.add_argument("--postgres", action="store_true", help="--load on PostgreSQL instead of SQLite")
    options = parser.parse_args()
    size = pages.SMALL if options.quick else pages.MEDIUM
    if options.load:
        print(under_load(size, seconds=options.seconds, postgres=options.postgres))
        return
    results = measure(size, full=options.full, quick=options.quick)
    print(table(results))
    if not options.full:
        print("Not measured without --full: 10,000,000 conversations (peers ≥ 60×), PostgreSQL.")
    missed = sum(not result.holds for result in results)
    if missed:
        sys.exit(f"{missed} of the budgets are missed.")


def under_load(size: int, *, seconds: int, postgres: bool) -> str:
    """Measure the load alone: everyone at once, then readers of the console and of Flask-Admin."""
    if not postgres:
        return _under_load(sqlite_url(sqlite_copy(sqlite_file(size))), size, seconds)
    with cluster(durable=True, max_connections="200") as made:
        return _under_load(postgres_database(made, size), size, seconds)


def _under_load(url: URL, size: int, seconds: int) -> str:
    mixed = load.run(url, size, seconds)
    return f"{mixed}\n\n{table(readers.measure(url, max(readers.SECONDS, seconds // 5)))}"


def measure(size: int, *, full: bool, quick: bool) -> list[Result]:
    """Measure everything but the mixed load."""
    sizes = sorted({pages.SMALL, size, *([pages.LARGE] if full else [])})
    rounds = _QUICK_ROUNDS if quick else ROUNDS
    files = {each: sqlite_file(each) for each in sizes}
    url = sqlite_url(files[size])
    with quiet():
        say("Pages.")
        results = pages.measure(files, rounds)
        results += pages.statements(url, size)
        say("Identifiers.")
        results += identifiers.measure()
        say("Writes.")
        results += writes.measure(sqlite_url(sqlite_copy(files[size])), size, rounds)
        say("First visit and start.")
        results += [delivery.first_visit(url), *delivery.start(files[size])]
        say("Readers at once.")
        results += readers.measure(url)
        if full:
            # In a process of its own: Django can be set up once in each.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as another:
                results += another.submit(on_postgres.measure, size, rounds).result()
    return results


if __name__ == "__main__":
    main()
