"""What partitions cost: `python -m benchmarks.partitions`, the same pages on plain and on partitioned tables.

Both databases are on one PostgreSQL and take turns. What is compared is processor time, the console's and the
server's together. Every run gets a page that was not asked for before.
"""

import argparse
import random
import re
import statistics
import sys
import time
from collections.abc import Callable
from html import unescape
from itertools import cycle, islice
from pathlib import Path

from sqlalchemy.engine import URL

from benchmarks import dataset
from benchmarks.clock import IN_A_ROW, ROUNDS
from benchmarks.databases import postgres_database, quiet, say, settings_for
from benchmarks.report import Result, table
from benchmarks.visitor import Visitor
from console import create_app
from console.conversations.cursors import Cursor
from console.conversations.queries import PAGE_SIZE
from testkit.postgres import Cluster, cluster

MAX_TIMES_PLAIN = 1.1
SIZES = """
SELECT pg_total_relation_size(oid) FROM pg_class WHERE relname = '{0}' AND relkind = 'r'
UNION ALL SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = to_regclass('{0}')
"""


TOKEN, BADGES = re.compile(r'name="csrf_token"[^>]*value="([^"]*)"'), re.compile(r'hx-get="(/badges\?[^"]*)"')


def pages(url: URL, conversations: int) -> Callable[[], str]:
    """Return what gets another page of the largest instructor's list each time, and its badges."""
    visitor = Visitor(create_app(settings_for(url)))
    (token,) = TOKEN.findall(visitor.get("/login"))[:1]
    fields = {"email": dataset.reader_email(0), "password": dataset.PASSWORD, "csrf_token": token}
    if visitor.post("/login", fields) != 303:
        raise RuntimeError("the reader was not signed in")
    lasts = islice(dataset.of_largest(conversations), PAGE_SIZE - 1, None, PAGE_SIZE)
    cursors = cycle(
        [Cursor(dataset.moment(last, conversations), dataset.conversation_id(last)) for last in lasts][:-1]
    )

    def page() -> str:
        shown = visitor.get(f"/conversations?before={next(cursors)}")
        (badges,) = BADGES.findall(shown)
        return shown + visitor.get(unescape(badges))

    return page


def processor_seconds(server: Cluster) -> float:
    """Return for how long this process and the server's processes have worked."""
    postmaster = server.process.pid if server.process else 0
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    worked = (Path(f"/proc/{pid}/schedstat").read_text().split()[0] for pid in children)
    return time.process_time() + sum(map(int, worked)) / 1e9


def measure(server: Cluster, conversations: int, rounds: int = ROUNDS) -> list[Result]:
    """Measure a list and its badges on both, and how much room each table takes for a conversation."""
    plain = postgres_database(server, conversations)
    partitioned = postgres_database(server, conversations, partitioned=True)
    with quiet():
        runs = {"plain": pages(plain, conversations), "partitioned": pages(partitioned, conversations)}
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, page in random.sample(sorted(runs.items()), len(runs)):
                began = processor_seconds(server)
                for _ in range(IN_A_ROW):
                    page()
                taken[name].append((processor_seconds(server) - began) / IN_A_ROW * 1000)
    ours, other = (statistics.median(taken[name]) for name in ("partitioned", "plain"))
    made_from = f"{ours:.2f} ms of both processors' time; plain {other:.2f} ms"
    cost = Result(
        "partitioned takes, of plain", ours / other, "×", at_most=MAX_TIMES_PLAIN, made_from=made_from
    )
    return [
        cost,
        *(_room(server, plain, name, conversations) for name in ("conversations", "messages", "customers")),
    ]


def _room(server: Cluster, url: URL, name: str, conversations: int) -> Result:
    taken = sum(int(size or 0) for (size,) in server.execute(SIZES.format(name), url.database or ""))
    return Result(f"{name}: bytes with indexes, a conversation", taken / conversations, "")


def main() -> None:
    """Measure, print the table, and exit 1 where the budget is missed."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--conversations", type=int, default=1_000_000, help="how many (1,000,000)")
    options = parser.parse_args()
    with cluster(durable=True, shared_buffers="512MB") as server:
        results = measure(server, options.conversations)
    say("")
    print(table(results))
    sys.exit(0 if all(result.holds for result in results) else 1)


if __name__ == "__main__":
    main()
