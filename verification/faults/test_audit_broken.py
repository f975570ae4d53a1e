"""No audit failure blocks a write (CM-2.5): each way to break it, and what is there after the repair."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import event, select

from console.database import command_scope, db, reading
from console.linking import service
from console.models import Conversation
from testkit.databases import SQLITE, on_sqlite
from testkit.factories import link_state, run, trail
from verification.faults.breakage import WAYS, Way
from verification.faults.databases import Database
from verification.faults.figures import Figures
from verification.faults.world import World, populate

MAX_WAIT = 0.25


class Operator:
    """A person who changes links, and the time they waited after each write was committed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.waits: list[float] = []

    def change(self, conversation: int, customer: int | None) -> UUID:
        """Link to a customer, or unlink; return the operation."""
        conversation_id, operation_id = self.world.conversation_ids[conversation], uuid4()
        request = service.LinkRequest(
            conversation_id=conversation_id,
            customer_id=None if customer is None else self.world.customer_ids[customer],
            unlink=customer is None,
            actor_id=self.world.operator_ids[0],
            reason="a reason",
            seen_version=_version(conversation_id),
            operation_id=operation_id,
            confirmed=True,
        )
        with self._timed():
            assert service.change(request, command_scope()) == request.outcome
        return operation_id

    @contextmanager
    def _timed(self) -> Iterator[None]:
        commits: list[float] = []
        note: Callable[..., None] = lambda *_: commits.append(time.monotonic())  # noqa: E731 (to be removed again)
        event.listen(db.engine, "commit", note)
        yield
        self.waits.append(time.monotonic() - commits[0])
        event.remove(db.engine, "commit", note)


def _version(conversation_id: UUID) -> int:
    with reading(command_scope()) as connection:
        return connection.execute(
            select(Conversation.link_version).where(Conversation.id == conversation_id)
        ).scalar_one()


@pytest.fixture
def operator(app: Flask) -> Operator:
    """Return an operator whose trail has one event already."""
    operator = Operator(populate(conversations=4))
    operator.change(3, 0)
    return operator


@pytest.mark.parametrize(
    ("engine", "way"), [pytest.param(way.engine, way, id=way.id) for way in WAYS], indirect=["engine"]
)
def test_a_broken_audit_holds_up_no_write_and_loses_no_event(
    database: Database, operator: Operator, cli: FlaskCliRunner, figures: Figures, way: Way
):
    first, second = operator.world.conversation_ids[:2]
    operator.waits.clear()
    with way.broken(database):
        asked = [operator.change(0, 0), operator.change(0, 1), operator.change(0, None)]
        others = [operator.change(1, 0)]
    waiting = [item["event_id"] for item in link_state(first).outbox or []]
    assert waiting == [str(operation_id) for operation_id in asked], "the audit was not broken"
    run(cli, "audit", "drain")
    for conversation_id, expected in ((first, asked), (second, others)):
        assert link_state(conversation_id).outbox is None
        assert [item["event_id"] for item in trail(conversation_id)] == [str(item) for item in expected]
    run(cli, "audit", "verify")
    # On a busy machine one wait may be long for reasons of its own; all of them are not.
    assert min(operator.waits) < MAX_WAIT
    figures("ms waited at most for the audit", round(max(operator.waits) * 1000))


def test_a_conversation_whose_events_are_refused_holds_back_no_other(
    database: Database, operator: Operator, cli: FlaskCliRunner
):
    bad, good = operator.world.conversation_ids[:2]
    if database.engine == SQLITE:
        trigger = f"WHEN NEW.conversation_id = '{bad}' BEGIN SELECT RAISE(ABORT, 'no'); END"
        database.execute(f"CREATE TRIGGER refuse BEFORE INSERT ON audit_events {trigger}")
    else:
        database.execute(f"ALTER TABLE audit_events ADD CONSTRAINT refuse CHECK (conversation_id <> '{bad}')")
    refused = operator.change(0, 0)
    moved = operator.change(1, 0)
    assert cli.invoke(args=["audit", "drain"]).exit_code == 1
    assert [item["event_id"] for item in trail(good)] == [str(moved)]
    assert [item["event_id"] for item in link_state(bad).outbox or []] == [str(refused)]


OTHER_JSON = ["{}", "[1]", '"[{"', "7", '[{"event_id": "1"}]', "[[]]", "null", "[]"]


@pytest.mark.parametrize("content", OTHER_JSON)
def test_an_outbox_that_holds_something_else_costs_no_event(
    database: Database, operator: Operator, cli: FlaskCliRunner, content: str
):
    bad, good = operator.world.conversation_ids[:2]
    database.execute(f"UPDATE conversations SET audit_outbox = '{content}' WHERE id = '{bad}'")
    asked = [operator.change(0, 0), operator.change(0, 1)]
    assert [item["event_id"] for item in trail(bad)] == [str(operation_id) for operation_id in asked]
    operator.change(1, 0)
    assert link_state(good).outbox is None
    if content == "[]":
        assert run(cli, "audit", "drain") == "moved 0"
        return
    assert cli.invoke(args=["audit", "drain"]).exit_code == 1
    assert str(bad) in cli.invoke(args=["audit", "verify"]).stdout
    kept = json.loads(content)
    assert link_state(bad).outbox == (kept if isinstance(kept, list) else [kept])


@on_sqlite
def test_an_outbox_cut_off_in_the_middle_is_kept_until_it_is_repaired(
    database: Database, operator: Operator, cli: FlaskCliRunner
):
    (bad, *_) = operator.world.conversation_ids
    with WAYS[0].broken(database):
        waited = operator.change(0, 0)
    ((whole,),) = database.rows(f"SELECT audit_outbox FROM conversations WHERE id = '{bad}'")
    cut = whole[:-1]
    with database.connect() as connection:
        connection.execute("UPDATE conversations SET audit_outbox = ? WHERE id = ?", [cut, str(bad)])
    later = operator.change(0, 1)
    assert link_state(bad).outbox == [cut]
    assert [item["event_id"] for item in trail(bad)] == [str(later)]
    assert str(bad) in cli.invoke(args=["audit", "verify"]).stdout
    with database.connect() as connection:
        connection.execute("UPDATE conversations SET audit_outbox = ? WHERE id = ?", [cut + "]", str(bad)])
    assert run(cli, "audit", "drain") == "moved 1"
    assert {item["event_id"] for item in trail(bad)} == {str(waited), str(later)}
    run(cli, "audit", "verify")
