"""CM-2.5: no write without its event, and no audit failure that blocks a write."""

import json
import time
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from flask.testing import FlaskCliRunner
from sqlalchemy import event, text

from console.database import db, now
from console.linking import audit
from testkit.databases import (
    POSTGRESQL,
    SQLITE,
    back_door,
    execute,
    on_postgresql,
)
from testkit.factories import Desk, desk, link_state, run, trail
from testkit.pages import Browser
from tests.linking.test_append_only import add_raw

FIELDS = [
    "event_id",
    "event_name",
    "conversation_id",
    "instructor_id",
    "sequence",
    "actor_type",
    "actor_id",
    "timestamp",
    "previous_customer_id",
    "new_customer_id",
    "reason",
    "context",
]


def verified(cli: FlaskCliRunner) -> bool:
    """Say whether `flask audit verify` finds every link explained."""
    result = cli.invoke(args=["audit", "verify"])
    assert result.exit_code in (0, 1), result.stderr
    return result.exit_code == 0


@pytest.mark.shows("CM-2.5.1", "T5.1", "Review.T5.1", "Review.T5.4")
def test_a_link_is_one_event_with_every_field(anna: Desk):
    conversation_id = anna.conversation("+39 333 123 4567")
    operation_id, before = uuid4(), now()
    anna.link(
        conversation_id, operation_id=operation_id, reason="  typed “so” ", context={"request_id": "r-1"}
    )
    (written,) = trail(conversation_id)
    customer_id = str(link_state(conversation_id).customer_id)
    moment = datetime.fromisoformat(written.pop("timestamp"))
    assert before <= moment <= now()
    assert moment.tzinfo == UTC
    assert written == {
        "event_id": str(operation_id),
        "event_name": "conversation.customer_linked",
        "conversation_id": str(conversation_id),
        "instructor_id": str(anna.instructor_id),
        "sequence": 1,
        "actor_type": "human",
        "actor_id": str(anna.operator.id),
        "previous_customer_id": None,
        "new_customer_id": customer_id,
        "reason": "  typed “so” ",
        "context": {
            "request_id": "r-1",
            "customer_created": True,
            "customer_identifier": "+39 333 123 4567",
            "normalized_identifier": "393331234567",
        },
    }


@pytest.mark.shows("CM-2.5.1", "T5.1", "Review.T5.1")
def test_the_three_events_follow_one_another(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    first = link_state(conversation_id).customer_id
    other = anna.customer("393330000000")
    anna.link(conversation_id, other, confirmed=True)
    anna.unlink(conversation_id)
    told = [
        (
            item["sequence"],
            item["event_name"].split(".")[1],
            item["previous_customer_id"],
            item["new_customer_id"],
        )
        for item in trail(conversation_id)
    ]
    assert told == [
        (1, "customer_linked", None, str(first)),
        (2, "customer_relinked", str(first), str(other)),
        (3, "customer_unlinked", str(other), None),
    ]


def test_the_time_has_microseconds_and_a_z(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    stamp = trail()[0]["timestamp"]
    assert datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.mark.shows("CM-2.5.8")
def test_export_writes_one_json_object_a_line_in_order(cli: FlaskCliRunner, anna: Desk):
    bruno = desk(cli, "Bruno Pichler")
    for someone, number in ((anna, "393331234567"), (bruno, "393331234567"), (anna, "393330000000")):
        someone.link(someone.conversation(number), reason="line one\nstill \u2028 one event")
    lines = run(cli, "audit", "export").splitlines()
    assert [json.loads(line) for line in lines] == trail()
    assert [list(json.loads(line)) for line in lines] == [FIELDS] * 3
    assert run(cli, "audit", "export", "--after", "1").split("\n") == lines[1:]
    assert run(cli, "audit", "export", "--instructor", str(bruno.instructor_id)).split("\n") == [lines[1]]
    assert run(cli, "audit", "export", "--after", "3") == ""


# Ways to break the trail, and how each is repaired.
BROKEN = {
    "missing": (
        ["ALTER TABLE audit_events RENAME TO mislaid"],
        ["ALTER TABLE mislaid RENAME TO audit_events"],
    ),
    "constrained": (
        ["CREATE UNIQUE INDEX one_event_each ON audit_events (instructor_id)"],
        ["DROP INDEX one_event_each"],
    ),
    "of another shape": (
        ["ALTER TABLE audit_events RENAME COLUMN event TO other"],
        ["ALTER TABLE audit_events RENAME COLUMN other TO event"],
    ),
}


REFUSING = {
    SQLITE: (
        ["CREATE TRIGGER refuse BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'no'); END"],
        ["DROP TRIGGER refuse"],
    ),
    POSTGRESQL: (
        [
            (
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE EXCEPTION 'no'; END $$"
            ),
            "CREATE TRIGGER refuse BEFORE INSERT ON audit_events EXECUTE FUNCTION refuse()",
        ],
        ["DROP TRIGGER refuse ON audit_events"],
    ),
}
FORBIDDEN = (
    ["REVOKE INSERT ON audit_events FROM console_link"],
    ["GRANT INSERT ON audit_events TO console_link"],
)


@pytest.mark.shows("CM-2.5.3", "T5.2", "Review.T5.3")
@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_trail_holds_up_no_write_and_loses_no_event(cli: FlaskCliRunner, anna: Desk, how: str):
    holds_up_no_write_and_loses_no_event(cli, anna, *BROKEN[how])


@pytest.mark.shows("CM-2.5.3", "T5.2", "Review.T5.3")
def test_a_refusing_trail_holds_up_no_write_and_loses_no_event(cli: FlaskCliRunner, anna: Desk, engine: str):
    holds_up_no_write_and_loses_no_event(cli, anna, *REFUSING[engine])


IGNORING = {
    SQLITE: (
        ["CREATE TRIGGER ignore BEFORE INSERT ON audit_events BEGIN SELECT RAISE(IGNORE); END"],
        ["DROP TRIGGER ignore"],
    ),
    POSTGRESQL: (
        [
            "CREATE FUNCTION ignore() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
            "CREATE TRIGGER ignore BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION ignore()",
        ],
        ["DROP TRIGGER ignore ON audit_events"],
    ),
}


@pytest.mark.shows("CM-2.5.1", "T5.2")
def test_a_trail_that_ignores_events_holds_up_no_write_and_loses_no_event(
    cli: FlaskCliRunner, anna: Desk, engine: str
):
    holds_up_no_write_and_loses_no_event(cli, anna, *IGNORING[engine])


@on_postgresql
def test_a_forbidden_trail_holds_up_no_write_and_loses_no_event(cli: FlaskCliRunner, anna: Desk):
    holds_up_no_write_and_loses_no_event(cli, anna, *FORBIDDEN)


def holds_up_no_write_and_loses_no_event(
    cli: FlaskCliRunner, anna: Desk, breaks: list[str], repairs: list[str]
) -> None:
    """Link while the trail is broken, repair it, and expect every event in it once."""
    conversation_id, other = anna.conversation("393331234567"), anna.conversation("393330000000")
    anna.link(other)
    execute(*breaks)
    anna.link(conversation_id)
    anna.unlink(conversation_id)
    assert link_state(conversation_id).link_version == 2
    assert len(link_state(conversation_id).outbox or []) == 2
    execute(*repairs)
    assert verified(cli)
    assert run(cli, "audit", "drain") == "moved 1"
    assert link_state(conversation_id).outbox is None
    assert [item["sequence"] for item in trail(conversation_id)] == [1, 2]
    assert run(cli, "audit", "drain") == "moved 0"
    assert verified(cli)


@on_postgresql
def test_a_locked_trail_holds_up_no_write_on_a_server(cli: FlaskCliRunner, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    with back_door() as blocker:
        blocker.execute(text("LOCK TABLE audit_events"))
        anna.link(conversation_id)
        assert link_state(conversation_id).link_version == 1
        assert len(link_state(conversation_id).outbox or []) == 1
    assert run(cli, "audit", "drain") == "moved 1"
    assert len(trail(conversation_id)) == 1
    assert verified(cli)


@pytest.mark.shows("CM-2.5.2")
def test_a_write_with_its_event_is_one_transaction_and_one_commit(client: Browser, anna: Desk):
    client.sign_in(anna.operator.email, anna.operator.password)
    path = f"/links/{anna.conversation('393331234567')}"
    page = client.get_page(path)
    seen: list[str] = []
    for what in ("begin", "commit", "rollback"):
        event.listen(db.engine, what, lambda *_, name=what: seen.append(name))
    for repeat in (1, 2):  # the second writes nothing
        assert client.submit(page, path, reason="so it is", create="1").status_code == 303
        assert (seen, len(trail())) == (["begin", "commit"] * repeat, 1)


UNDOING = {
    SQLITE: (
        ["CREATE TRIGGER undo BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ROLLBACK, 'no'); END"],
        ["DROP TRIGGER undo"],
    ),
    POSTGRESQL: (
        [
            (
                "CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
            ),
            "CREATE TRIGGER undo BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION undo()",
        ],
        ["DROP TRIGGER undo ON audit_events"],
    ),
}


@pytest.mark.shows("CM-2.5.3", "T5.2")
def test_a_trail_that_undoes_the_whole_transaction_holds_up_no_write_and_loses_no_event(
    cli: FlaskCliRunner, anna: Desk, engine: str
):
    holds_up_no_write_and_loses_no_event(cli, anna, *UNDOING[engine])


@pytest.mark.shows("CM-2.5.4")
def test_the_next_write_moves_what_waits(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    breaks, repairs = BROKEN["missing"]
    execute(*breaks)
    anna.link(conversation_id)
    execute(*repairs)
    anna.unlink(conversation_id)
    assert [item["sequence"] for item in trail(conversation_id)] == [1, 2]
    assert link_state(conversation_id).outbox is None


@on_postgresql
def test_moving_gives_up_early_while_the_trail_is_locked(anna: Desk, monkeypatch: pytest.MonkeyPatch):
    conversation_ids = [anna.conversation(f"39333000{number:04}") for number in range(40)]
    breaks, repairs = BROKEN["missing"]
    execute(*breaks)
    for conversation_id in conversation_ids:
        anna.link(conversation_id)
    execute(*repairs)
    with back_door() as blocker, monkeypatch.context() as limits:
        limits.setattr(audit, "MAX_MOVE_MS", 100)
        limits.setattr(audit, "MAX_FAILING_SECONDS", 0.5)
        blocker.execute(text("LOCK TABLE audit_events"))
        started = time.monotonic()
        assert audit.drain() == (0, 40)
        # All of them would take 2 seconds, at 50 ms each.
        assert time.monotonic() - started < 1.5
    assert audit.drain() == (40, 0)
    assert len(trail()) == 40


def told_of(logged: str) -> list[tuple[str, str | None, str | None]]:
    """Return event, conversation and reason of each line of a log."""
    lines = map(json.loads, logged.splitlines())
    return [(line["event"], line.get("conversation_id"), line.get("why")) for line in lines]


def test_draining_gives_up_once_moves_have_failed_for_long(
    anna: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(audit, "MAX_FAILING_SECONDS", 0)
    breaks, repairs = BROKEN["missing"]
    execute(*breaks)
    for number in range(3):
        anna.link(anna.conversation(f"39333123456{number}"))
    execute(*repairs)
    assert audit.drain() == (3, 0)
    execute("UPDATE conversations SET audit_outbox = '[1]'")
    capfd.readouterr()
    assert audit.drain() == (0, 3)
    ((event, _, why),) = told_of(capfd.readouterr().err)
    assert (event, why) == ("audit_move_failed", "unreadable, or its id or sequence is taken")
    monkeypatch.setattr(audit, "MAX_FAILING_SECONDS", 60)
    assert audit.drain() == (0, 3)
    assert len(told_of(capfd.readouterr().err)) == 3


def test_a_failing_move_is_logged_and_counted(anna: Desk, engine: str, capfd: pytest.CaptureFixture[str]):
    counted = audit._failed_moves._value.get()
    execute(*BROKEN["missing"][0])
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id, reason="a reason that is never logged")
    assert audit._failed_moves._value.get() == counted + 1
    logged = capfd.readouterr().err
    why = "OperationalError" if engine == SQLITE else "ProgrammingError"
    failed = ("audit_move_failed", str(conversation_id), why)
    assert failed in told_of(logged)
    assert audit.drain() == (0, 1)
    assert told_of(capfd.readouterr().err) == [failed]
    assert "393331234567" not in logged
    assert "a reason that is never logged" not in logged


def test_one_bad_outbox_holds_back_no_other(cli: FlaskCliRunner, anna: Desk):
    breaks, repairs = BROKEN["missing"]
    bad, good = anna.conversation("393331234567"), anna.conversation("393330000000")
    execute(*breaks)
    anna.link(bad)
    anna.link(good)
    execute(*repairs, f"UPDATE conversations SET audit_outbox = '[1]' WHERE id = '{bad}'")
    result = cli.invoke(args=["audit", "drain"])
    assert result.exit_code == 1
    assert result.stdout == "moved 1\n"
    assert "1 conversations keep their events" in result.stderr
    assert len(trail(good)) == 1
    assert not verified(cli)


@pytest.mark.shows("CM-2.5.4")
def test_an_event_of_another_conversation_stays_in_the_outbox(anna: Desk):
    first, second = anna.conversation("393331234567"), anna.conversation("393330000000")
    breaks, repairs = BROKEN["missing"]
    execute(*breaks)
    anna.link(first)
    waiting = f"(SELECT audit_outbox FROM conversations WHERE id = '{first}')"
    execute(*repairs, f"UPDATE conversations SET audit_outbox = {waiting} WHERE id = '{second}'")
    for _ in range(2):
        assert audit.drain()[1] == 1
        assert (len(trail()), link_state(first).outbox) == (1, None)
        assert link_state(second).outbox


@pytest.mark.shows("CM-2.5.4")
def test_an_event_whose_id_or_sequence_is_taken_stays_in_its_outbox(cli: FlaskCliRunner, anna: Desk):
    first, second = anna.conversation("393331234567"), anna.conversation("393330000000")
    operation_id = uuid4()
    add_raw(anna, anna.conversation("40404"), event_id=operation_id)
    add_raw(anna, second)
    for conversation_id in (first, second):
        anna.link(conversation_id, operation_id=operation_id if conversation_id == first else uuid4())
        anna.unlink(conversation_id)  # moves what it can, and leaves the other where it is
        assert [item["sequence"] for item in link_state(conversation_id).outbox or []] == [1]
        assert trail(conversation_id)[-1]["sequence"] == 2
    assert cli.invoke(args=["audit", "drain"]).exit_code == 1
    assert all(link_state(row).outbox for row in (first, second))
