"""Erasures that are killed at every boundary, and that others write into while they run."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from flask import Flask
from sqlalchemy import event, insert, select

from console import create_app
from console.config import Settings
from console.database import command_scope, db, scrub
from console.ingestion.service import ingest_payload
from console.linking import service
from console.linking.verification import verify
from console.models import ChannelAccount, Conversation
from console.person import erasure
from console.person.identity import Person
from testkit.databases import SQLITE, as_owner, back_door, file_of, rows
from testkit.factories import payload
from verification.faults.boundaries import run
from verification.faults.world import World, populate

FEWEST_BOUNDARIES = 20
FEWEST_STATEMENTS = 10
MAX_PEOPLE = 200
ACCOUNT = "100200300400500"

# How long an erasure waits for what others do, which may itself wait for the erasure.
HEAD_START_SECONDS = 0.2

WHOLE, GONE = [1, 1, 1, 2, 2, 1], [0, 0, 0, 0, 0, 0]


@dataclass(frozen=True)
class Writer:
    """A person who has written, was linked and unlinked, and of whose messages one was kept."""

    world: World
    conversation_id: UUID
    identifier: str

    def erase(self) -> str:
        """Erase them."""
        return str(erasure.erase(Person(self.identifier), self.world.instructor_id))

    def write(self) -> None:
        """Send a message."""
        ingest_payload(payload(ACCOUNT, self.identifier).encode())

    def change(self, version: int, **asked: Any) -> service.LinkOutcome:
        """Change the link of the first conversation."""
        request = service.LinkRequest(
            conversation_id=self.conversation_id,
            actor_id=self.world.operator_ids[0],
            reason="a reason",
            seen_version=version,
            operation_id=uuid4(),
            **asked,
        )
        return service.change(request, command_scope())

    def left(self) -> list[int]:
        """Count conversations, messages, customers, operations, events and kept payloads of theirs."""
        of_it = f"conversation_id = '{self.conversation_id}'"
        counted = (
            f"conversations WHERE id = '{self.conversation_id}'",
            f"messages WHERE {of_it}",
            f"customers WHERE normalized_identifier = '{self.identifier}'",
            f"link_operations WHERE {of_it}",
            f"audit_events WHERE {of_it} OR event LIKE '%{self.identifier}%'",
            f"rejected_payloads WHERE payload LIKE '%{self.identifier}%'",
        )
        return [int(rows(f"SELECT count(*) FROM {item}")[0][0]) for item in counted]


def writers() -> Iterator[Writer]:
    """Give people, one after the other."""
    world = populate(conversations=MAX_PEOPLE)
    account = {"channel": "whatsapp", "account_id": ACCOUNT, "instructor_id": world.instructor_id}
    with back_door() as connection:
        connection.execute(insert(ChannelAccount), account)
        found = select(Conversation.id, Conversation.customer_identifier).order_by(Conversation.id)
        identifiers = list(connection.execute(found))
    for conversation_id, identifier in identifiers:
        writer = Writer(world, conversation_id, str(identifier))
        writer.write()
        writer.change(0, create=True)
        writer.change(1, unlink=True, confirmed=True)
        ingest_payload(payload(ACCOUNT, writer.identifier, at=-1).encode())
        assert writer.left() == WHOLE
        yield writer


def kill(settings: Settings, *, every: int) -> int:
    """Kill an erasure at every boundary, or every so-many-th, then repeat it; return how many were killed."""
    with _owners(settings).app_context():
        people = writers()
        boundaries = run(next(people).erase).boundaries
        assert boundaries >= FEWEST_BOUNDARIES, f"only {boundaries} boundaries"
        places = range(1, boundaries + 1, every)
        erased = [next(people) for _ in places]
        for boundary, writer in zip(places, erased, strict=True):
            died = run(writer.erase, boundary)
            assert died.killed, died
            assert writer.left() in (WHOLE, GONE), f"half erased at {boundary}: {writer.left()}"
            again = run(writer.erase)
            assert again.answer, again
            assert writer.left() == GONE
        _explained()
        scrub()
        for content in _files(settings):
            assert [writer for writer in erased if writer.identifier.encode() in content] == []
        return len(places)


def _files(settings: Settings) -> Iterator[bytes]:
    """Give the bytes of SQLite's files."""
    if settings.database_url.get_backend_name() == SQLITE:
        path = file_of(settings)
        yield from (file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def interfere(settings: Settings, *, every: int) -> dict[str, int]:
    """Let an operator link and a message arrive at every statement of an erasure; count what came of it."""
    owners, console = _owners(settings), create_app(replace(settings, log_level="critical"))
    came_of_it: dict[str, int] = {}
    with owners.app_context():
        people = writers()
        for place in count(1, every):
            writer = next(people)
            outcomes = _interfered(console, writer, place)
            if not outcomes:
                break
            for outcome in outcomes:
                came_of_it[outcome] = came_of_it.get(outcome, 0) + 1
            _nothing_is_half(writer)
        _explained()
    assert place >= FEWEST_STATEMENTS
    return came_of_it


def _interfered(console: Flask, writer: Writer, place: int) -> list[str]:
    """Erase a person, and at one statement begin to link and to write; return what came of both.

    Nothing comes where there are not so many statements.
    """
    outcomes: list[str] = []

    def link() -> None:
        with console.app_context():
            try:
                customer_id = writer.world.customer_ids[0]
                outcomes.append(writer.change(2, customer_id=customer_id))
            except service.LinkError as refused:
                outcomes.append(type(refused).__name__)

    def write() -> None:
        with console.app_context():
            writer.write()
        outcomes.append("written")

    threads = [threading.Thread(target=act) for act in (link, write)]

    def interrupt(number: int) -> None:
        if number == place:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(HEAD_START_SECONDS)

    with _noticing(interrupt):
        writer.erase()
    for thread in threads:
        if thread.ident:
            thread.join()
    assert len(outcomes) in (0, len(threads)), outcomes
    return outcomes


def _nothing_is_half(writer: Writer) -> None:
    """Check that nothing of before is left, and that a new message is there with its conversation, or not."""
    assert writer.left() == GONE
    new = rows(f"SELECT id, customer_id FROM conversations WHERE customer_identifier = '{writer.identifier}'")
    assert len(new) <= 1
    for conversation_id, customer_id in new:
        assert customer_id is None
        assert rows(f"SELECT count(*) FROM messages WHERE conversation_id = '{conversation_id}'") == [(1,)]


@contextmanager
def _noticing(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with the number of each statement of the engine that writes, before it runs."""
    numbers = count(1)

    def on_statement(*_: Any) -> None:
        act(next(numbers))

    engine = db.engine
    event.listen(engine, "before_cursor_execute", on_statement)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", on_statement)


def _owners(settings: Settings) -> Flask:
    return create_app(replace(as_owner(settings), log_level="critical"))


def _explained() -> None:
    broken = [problem for _, problem in verify() if problem]
    assert not broken, broken
