"""Ingestion and link writes, against bare driver statements that leave the same rows behind."""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from sqlalchemy.engine import URL

from benchmarks import dataset
from benchmarks.clock import ROUNDS, Timing, interleave
from benchmarks.databases import settings_for
from benchmarks.report import Result, against
from console import create_app
from console.config import sqlite_path
from console.database import command_scope, new_id
from console.ingestion.service import ingest_payload
from console.linking import service
from testkit.factories import payload
from testkit.statements import statements, without_control

BATCH = 10
"""How many writes a round, so that a round takes well over what the clock can tell apart."""

_INGESTION = 1 / 3
_LINK = 3
_LINK_STATEMENTS = 6

_INSERT_CONVERSATION = (
    "INSERT INTO conversations (id, instructor_id, channel, customer_identifier, status, created_at,"
    " updated_at, last_message_at) VALUES (?, ?, 'whatsapp', ?, 'open', ?, ?, ?)"
)
_INSERT_MESSAGE = (
    "INSERT INTO messages (id, conversation_id, instructor_id, channel, direction, external_id, kind, body,"
    " sent_at) VALUES (?, ?, ?, 'whatsapp', 'inbound', ?, 'text', 'Hi', ?)"
)
_LINK_CONVERSATION = "UPDATE conversations SET customer_id = ?, link_version = link_version + 1 WHERE id = ?"


class Bare:
    """The driver alone: one connection, and one transaction for each `write`."""

    def __init__(self, url: URL) -> None:
        path = sqlite_path(url)
        self._connection: Any
        if path:
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._begin = "BEGIN IMMEDIATE"
        else:
            self._connection = psycopg.connect(
                host=url.host or "", port=url.port, user=url.username, dbname=url.database, autocommit=True
            )
            self._begin = "BEGIN"
        self._is_sqlite = bool(path)

    def write(self, *statements: tuple[str, list[object]]) -> None:
        """Run statements in one transaction and commit it."""
        self._connection.execute(self._begin)
        for sql, values in statements:
            if self._is_sqlite:
                self._connection.execute(sql, [_text(value) for value in values])
            else:
                self._connection.execute(sql.replace("?", "%s"), values)
        self._connection.execute("COMMIT")


def _text(value: object) -> object:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S.%f}"
    return str(value) if isinstance(value, UUID) else value


def measure(url: URL, conversations: int, rounds: int = ROUNDS) -> list[Result]:
    """Measure both on one database, which is written to."""
    app = create_app(settings_for(url))
    bare = Bare(url)
    with app.app_context():
        timings = interleave(
            {
                "ingestion": _ingest(),
                "bare inserts": _insert(bare),
                "link": _link(conversations),
                "bare update": _update(bare, conversations),
            },
            rounds,
        )
        counted = _link_statements(conversations)
    engine = "SQLite" if sqlite_path(url) else "PostgreSQL"
    return [*_results(engine, timings), counted]


def _results(engine: str, timings: dict[str, Timing]) -> list[Result]:
    ingestion, inserts = timings["ingestion"], timings["bare inserts"]
    link, update = timings["link"], timings["bare update"]
    return [
        Result(
            f"{engine}: messages stored a second, of what bare INSERTs do",
            inserts.wall_ms / ingestion.wall_ms,
            "×",
            at_least=_INGESTION,
            made_from=_rates(ingestion, inserts),
        ),
        Result(
            f"{engine}: a link write with its event, times the bare UPDATE and COMMIT",
            link.wall_ms / update.wall_ms,
            "×",
            at_most=_LINK,
            made_from=_rates(link, update),
        ),
    ]


def _rates(ours: Timing, bare: Timing) -> str:
    rates = (f"{BATCH / timing.wall_ms * 1000:,.0f}" for timing in (ours, bare))
    return f"{' of '.join(rates)} a second; {BATCH} at a time: {against(ours, bare, 'bare')}"


def _ingest() -> Callable[[], None]:
    turns = _senders()

    def run() -> None:
        for sender, instructor in (next(turns) for _ in range(BATCH)):
            counts = ingest_payload(payload(dataset.phone_number_id(instructor), sender).encode())
            if counts.stored != 1:
                raise RuntimeError(f"not stored: {counts}")

    return run


def _insert(bare: Bare) -> Callable[[], None]:
    turns = _senders()
    opened: dict[str, UUID] = {}

    def run() -> None:
        for sender, instructor in (next(turns) for _ in range(BATCH)):
            moment = datetime.now(UTC)
            instructor_id = dataset.instructor_id(instructor)
            if sender in opened:
                conversation_id = opened[sender]
                touch = "UPDATE conversations SET updated_at = ?, last_message_at = ? WHERE id = ?"
                thread = (touch, [moment, moment, conversation_id])
            else:
                conversation_id = opened[sender] = new_id()
                values = [conversation_id, instructor_id, f"bare {sender}", moment, moment, moment]
                thread = (_INSERT_CONVERSATION, values)
            external_id = f"wamid.{uuid4().hex}"
            message = [new_id(), conversation_id, instructor_id, external_id, moment]
            bare.write(thread, (_INSERT_MESSAGE, message))

    return run


def _senders() -> Iterator[tuple[str, int]]:
    """Give who writes to whom: every other message opens a conversation, the next goes on with it."""
    number = 0
    while True:
        sender = f"39340{number:07}"
        yield sender, number % dataset.INSTRUCTORS
        yield sender, number % dataset.INSTRUCTORS
        number += 1


def _link(conversations: int) -> Callable[[], None]:
    numbers = dataset.matching(conversations, 0, of=2)

    def run() -> None:
        for number in (next(numbers) for _ in range(BATCH)):
            link(number)

    return run


def link(number: int) -> None:
    """Link one conversation to the customer that its identifier matches."""
    service.change(
        service.LinkRequest(
            conversation_id=dataset.conversation_id(number),
            instructor_id=dataset.instructor_id(0),
            customer_id=dataset.customer_id(number),
            actor_id=dataset.operator_id(0),
            reason="the benchmark says so",
            seen_version=0,
            operation_id=uuid4(),
        ),
        command_scope(),
    )


def _update(bare: Bare, conversations: int) -> Callable[[], None]:
    numbers = dataset.matching(conversations, 1, of=2)

    def run() -> None:
        for number in (next(numbers) for _ in range(BATCH)):
            values: list[object] = [dataset.customer_id(number), dataset.conversation_id(number)]
            bare.write((_LINK_CONVERSATION, values))

    return run


def _link_statements(conversations: int) -> Result:
    *_, oldest = dataset.matching(conversations, 0, of=2)
    with statements() as seen:
        link(oldest)
    count = len(without_control(seen))
    return Result("SQL statements: a link write", count, "", at_most=_LINK_STATEMENTS)
