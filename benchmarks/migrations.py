"""Migrate a PostgreSQL that takes messages: `python -m benchmarks.migrations`, `make bench-migrations`.

The first revisions that change a large table go up, down and up again while processes store WhatsApp
messages through the ingestion service at a steady rate; the next ones go up. Those that change keys do so
while people link as well, and their second upgrade is killed half-way and run again. Printed for each step:
how long it took, how many messages came meanwhile, how many failed, the longest that one waited, and what it
waited for.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import URL

from benchmarks import links
from benchmarks.messages import MESSAGES, Payload, Sample, sampled, traffic
from console.config import ROOT
from testkit import postgres

REVISIONS = ("0002_customers", "0003_conversation_link", "0004_audit_events")
GUARDS = (
    *("0005_guards", "0006_dismissals", "0007_link_guard"),
    *("0008_audit_positions", "0009_link_operations", "0010_session_epoch"),
)
KEYS = ("0011_inbox_keys", "0012_link_keys", "0013_audit_keys", "0014_rejected_payload_keys")
MAX_STALL_MS = 200
REST_SECONDS = 20
"""How long messages are timed with no migration, to compare with; a tenth of that is a pause."""
CHUNK, SMALL_CHUNK = 1_000_000, 50_000
NOTED_LOCK_MS = 10

SERVER = {
    "shared_buffers": "1GB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    # Who waits for a lock for longer than this is written to the log.
    "deadlock_timeout": f"{NOTED_LOCK_MS}ms",
    "log_lock_waits": "on",
    "log_min_messages": "log",
}
# Messages read and write rows; what waits for stronger locks are the migrations themselves.
LOCK_WAIT = re.compile(r"acquired (?:AccessShare|RowShare|RowExclusive)Lock on relation .* after ([\d.]+) ms")

PEOPLE = """
INSERT INTO instructors SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'Anna', now()
    FROM generate_series(0, 99) n;
INSERT INTO channel_accounts SELECT 'whatsapp', n::text,
    ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid FROM generate_series(0, 99) n
"""
# Loaded past the foreign key, and the indexes made afterwards: minutes instead of an hour.
CONVERSATIONS = """
SET session_replication_role = replica;
INSERT INTO conversations (id, instructor_id, channel, customer_identifier, status,
    created_at, updated_at, last_message_at)
SELECT ('01910000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
    ('01900000-0000-7000-8000-' || lpad(to_hex(n % 100), 12, '0'))::uuid,
    'whatsapp', (390000000000 + n)::text, 'open', at, at, at
FROM generate_series({first}, {last}) n,
    LATERAL (SELECT timestamptz '2026-01-01' + n * interval '1 s' AS at) moment
"""
INDEXES = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid = 'conversations'::regclass AND NOT indisprimary
"""
# What a revision's own release would have written before the next one is run, for a range of conversations:
# a customer for every tenth, a link for every hundredth.
WRITTEN = {
    "0002_customers": """
        INSERT INTO customers SELECT id, instructor_id, channel, customer_identifier, created_at
        FROM conversations WHERE customer_identifier LIKE '39%7' AND {range}
    """,
    "0003_conversation_link": """
        UPDATE conversations
        SET customer_id = customers.id, link_version = 1, link_operation_id = customers.id
        FROM customers WHERE customers.id = conversations.id AND customer_identifier LIKE '39%77' AND {range}
    """,
}
RANGE = """
conversations.id BETWEEN ('01910000-0000-7000-8000-' || lpad(to_hex({first}), 12, '0'))::uuid
    AND ('01910000-0000-7000-8000-' || lpad(to_hex({last}), 12, '0'))::uuid
"""

HEADING = (
    f"{'step':<32}{'seconds':>8}{'a second':>10}{'failed':>8}{'p99 ms':>8}{'longest ms':>12}{'late ms':>9}"
    "  what the longest waited for, in ms"
)


@dataclass(frozen=True)
class Step:
    """One migration, or a rest, and the payloads that were under way during it."""

    name: str
    seconds: float
    payloads: list[Payload]
    samples: list[Sample]
    links: list[links.Link]

    @property
    def failed(self) -> int:
        """How many payloads and links were not stored."""
        return sum(not payload.stored for payload in self.payloads) + sum(
            not link.became for link in self.links
        )

    @property
    def waits(self) -> list[float]:
        """How long each payload took, shortest first, in milliseconds."""
        return sorted((payload.answered - payload.sent) * 1000 for payload in self.payloads)

    def __str__(self) -> str:
        """Return the step as a line of the table."""
        waits = self.waits
        late = max((payload.answered - payload.due) * 1000 for payload in self.payloads)
        rate = MESSAGES * len(waits) / self.seconds
        longest = max(self.payloads, key=lambda item: item.answered - item.sent)
        times = f"{waits[int(len(waits) * 0.99)]:8.1f}{waits[-1]:12.1f}{late:9.1f}"
        line = f"{self.name:<32}{self.seconds:8.1f}{rate:10.0f}{self.failed:8}{times}"
        return f"{line}  {longest.cause(self.samples)}{links.summary(self.links)}"


@dataclass(frozen=True)
class Console:
    """A console's database, and how to migrate and fill it."""

    server: postgres.Cluster
    url: URL

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run SQL as the superuser."""
        return self.server.execute(statement, self.url.database or "")

    def flask(self, *arguments: str, killed_after: float | None = None) -> None:
        """Run a command of the console, whose failure ends the benchmark, or kill it after some seconds."""
        variables = ("CONSOLE_DATABASE_URL", "CONSOLE_READ_DATABASE_URL", "CONSOLE_INGEST_DATABASE_URL")
        urls = dict.fromkeys(variables, self.url.render_as_string(hide_password=False))
        # In production it runs on another machine than the database and the console.
        command = ["nice", "-n", "19", sys.executable, "-m", "flask", *arguments]
        environ = {**os.environ, **urls, "CONSOLE_SECRET_KEY": "signs nothing"}
        how: dict[str, Any] = {"cwd": ROOT, "env": environ, "capture_output": True, "text": True}
        try:
            done = subprocess.run(command, check=False, timeout=killed_after, **how)
        except subprocess.TimeoutExpired:
            return
        if done.returncode:
            sys.exit(f"flask {' '.join(arguments)} failed: {done.stderr}")

    def load(self, conversations: int, say: Callable[[str], None]) -> None:
        """Bring a new database to 0001_inbox, with conversations in it."""
        self.flask("db", "upgrade", "0001_inbox")
        self.flask("database", "roles", "--apply")
        self.execute(PEOPLE)
        indexes = [(str(name), str(definition)) for name, definition in self.execute(INDEXES)]
        for name, _ in indexes:
            self.execute(f"DROP INDEX {name}")
        for first in range(0, conversations, CHUNK):
            last = min(first + CHUNK, conversations) - 1
            self.execute(CONVERSATIONS.format(first=first, last=last))
            say(f"{last + 1:,} conversations")
        for name, definition in indexes:
            self.execute(definition)
            say(name)
        self.execute("VACUUM ANALYZE")
        self.execute("CHECKPOINT")

    def write(self, revision: str, conversations: int) -> None:
        """Write what comes after a revision, a little at a time: no message waits for it."""
        for first in range(0, conversations if revision in WRITTEN else 0, SMALL_CHUNK):
            ids = RANGE.format(first=first, last=min(first + SMALL_CHUNK, conversations) - 1)
            self.execute(WRITTEN[revision].format(range=ids))
        self.execute("CHECKPOINT")

    def longest_lock_ms(self) -> float:
        """Return the longest that a message waited for a lock on a table; 0.0 where none was noted."""
        log = (self.server.directory / "log").read_text(errors="replace")
        return max(map(float, LOCK_WAIT.findall(log)), default=0.0)


def measure(
    conversations: int,
    rate: float,
    rest: float,
    say: Callable[[str], None],
    keys: Sequence[str] = KEYS,
) -> tuple[list[Step], float]:
    """Load, then migrate under traffic; return what each step did to the messages.

    The second value is the longest that one of them waited for a lock, in milliseconds.
    """
    windows: list[tuple[str, float, float]] = []
    payloads: list[Payload] = []
    samples: list[Sample] = []
    written: list[links.Link] = []

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        windows.append((name, started, time.monotonic()))
        say(f"{name}: {windows[-1][2] - started:.1f} s")

    with postgres.cluster(durable=True, **SERVER) as server:
        console = Console(server, server.create_database())
        console.load(conversations, say)
        ingestion = console.url.set(username="console_ingest")
        with traffic(ingestion, rate, conversations, payloads), sampled(console.server, samples):
            time.sleep(rest / 10)
            with timed("no migration"):
                time.sleep(rest)
            for revision in REVISIONS:
                for way in ("up", "down", "up again"):
                    with timed(f"{revision} {way}"):
                        console.flask("db", *(("downgrade",) if way == "down" else ("upgrade", revision)))
                console.write(revision, conversations)
                time.sleep(rest / 10)
            for revision in GUARDS:
                with timed(f"{revision} up"):
                    console.flask("db", "upgrade", revision)
            console.flask("database", "roles", "--apply")
            console.execute(links.PEOPLE)
            with links.traffic(console.url.set(username="console_link"), conversations, written):
                for revision in keys:
                    with timed(f"{revision} up"):
                        console.flask("db", "upgrade", revision)
                    _, start, end = windows[-1]
                    with timed(f"{revision} down"):
                        console.flask("db", "downgrade")
                    with timed(f"{revision} killed, up"):
                        console.flask("db", "upgrade", revision, killed_after=(end - start) / 2)
                        console.flask("db", "upgrade", revision)
        longest_lock = console.longest_lock_ms()
        ((kept,),) = console.execute("SELECT count(*) FROM messages")
        ((events,),) = console.execute(links.EVENTS)
    if kept != (answered := MESSAGES * sum(payload.stored for payload in payloads)):
        sys.exit(f"{answered} messages were answered as stored, {kept} are there")
    if events != (answered := sum(link.became == links.WRITTEN for link in written)):
        sys.exit(f"{answered} links were answered as written, {events} events are there")
    steps = [
        Step(
            name,
            end - start,
            [it for it in payloads if it.answered >= start and it.sent <= end],
            samples,
            [it for it in written if it.answered >= start and it.sent <= end],
        )
        for name, start, end in windows
    ]
    return steps, longest_lock


def main() -> None:
    """Measure, print the table, and exit 1 where a message failed or waited too long."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--conversations", type=int, default=10_000_000, help="how many (10,000,000)")
    parser.add_argument("--rate", type=float, default=500.0, help="messages a second (500)")
    options = parser.parse_args()
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:7.0f} s  {line}", file=sys.stderr, flush=True)

    steps, lock = measure(options.conversations, options.rate, REST_SECONDS, say)
    print(f"{options.conversations:,} conversations, {options.rate:g} messages a second", HEADING, sep="\n")
    print(*steps, sep="\n")
    print("longest: from sent to stored. late: from when it was due, so with those that queued before it.")
    waited = f"{lock:.0f} ms" if lock else f"under {NOTED_LOCK_MS} ms"
    print(f"Of that, waiting for a lock on a table: {waited}. The rest is the disk's and the processor's.")
    failed = sum(step.failed for step in steps)
    longest = max(step.waits[-1] for step in steps[1:])
    longest = max(longest, *(link.milliseconds for step in steps for link in step.links))
    print(f"Failed: {failed}. Longest stall: {longest:.0f} ms, to beat: {MAX_STALL_MS} ms.")
    sys.exit(1 if failed or longest >= MAX_STALL_MS else 0)


if __name__ == "__main__":
    main()
