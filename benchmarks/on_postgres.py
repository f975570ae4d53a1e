"""What is measured on PostgreSQL: the page beside its peers, and writes."""

from benchmarks import pages, writes
from benchmarks.databases import postgres_database, quiet, say
from benchmarks.report import Result
from testkit.postgres import cluster


def measure(size: int, rounds: int) -> list[Result]:
    """Measure on a server of its own."""
    with quiet(), cluster(durable=True, shared_buffers="256MB") as made:
        url = postgres_database(made, size)
        say("PostgreSQL.")
        return pages.measure_postgres(url, size, rounds) + writes.measure(url, size, rounds)
