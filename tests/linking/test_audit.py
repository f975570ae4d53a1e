"""CM-2.5: no write without its event, and no audit failure that blocks a write."""

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from console import create_app, linking
from console.config import Settings, sqlite_path
from console.database import db, now, writing
from console.linking import audit
from tests.databases import (
    POSTGRESQL,
    SQLITE,
    back_door,
    before_each_move,
    execute,
    on_postgresql,
    on_sqlite,
    settings_for,
)
from tests.factories import Desk, desk, link_state, run, trail
from tests.pages import Browser

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


def test_the_three_events_follow_one_another(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    first = link_state(conversation_id).customer_id
    other = anna.customer("393330000000")
    anna.link(conversation_id, other, overwrite=True)
    anna.unlink(conversation_id)
    told = [
        (
            one["sequence"],
            one["event_name"].split(".")[1],
            one["previous_customer_id"],
            one["new_customer_id"],
        )
        for one in trail(conversation_id)
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


def test_export_writes_one_json_object_a_line_in_order(cli: FlaskCliRunner, anna: Desk):
    bruno = desk(cli, "Bruno Pichler")
    for someone, number in ((anna, "393331234567"), (bruno, "393331234567"), (anna, "393330000000")):
        someone.link(someone.conversation(number), reason="line one\nstill \u2028 one \x85 event")
    lines = run(cli, "audit", "export").splitlines()
    assert [json.loads(line) for line in lines] == trail()
    assert [list(json.loads(line)) for line in lines] == [FIELDS] * 3
    assert run(cli, "audit", "export", "--after", "1").split("\n") == lines[1:]
    assert run(cli, "audit", "export", "--instructor", str(bruno.instructor_id)).split("\n") == [lines[1]]
    assert run(cli, "audit", "export", "--after", "3") == ""


# Ways to break the trail, and how each is mended.
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


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_trail_holds_up_no_write_and_loses_no_event(cli: FlaskCliRunner, anna: Desk, how: str):
    holds_up_no_write_and_loses_no_event(cli, anna, *BROKEN[how])


def test_a_refusing_trail_holds_up_no_write_and_loses_no_event(cli: FlaskCliRunner, anna: Desk, engine: str):
    holds_up_no_write_and_loses_no_event(cli, anna, *REFUSING[engine])


@on_postgresql
def test_a_forbidden_trail_holds_up_no_write_and_loses_no_event(cli: FlaskCliRunner, anna: Desk):
    holds_up_no_write_and_loses_no_event(cli, anna, *FORBIDDEN)


def holds_up_no_write_and_loses_no_event(
    cli: FlaskCliRunner, anna: Desk, breaks: list[str], mends: list[str]
) -> None:
    """Link while the trail is broken, mend it, and expect every event in it once."""
    conversation_id, other = anna.conversation("393331234567"), anna.conversation("393330000000")
    anna.link(other)
    execute(*breaks)
    anna.link(conversation_id)
    anna.unlink(conversation_id)
    assert link_state(conversation_id).link_version == 2
    assert len(link_state(conversation_id).outbox or []) == 2
    execute(*mends)
    assert verified(cli)
    assert run(cli, "audit", "drain") == "moved 1"
    assert link_state(conversation_id).outbox is None
    assert [one["sequence"] for one in trail(conversation_id)] == [1, 2]
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


@on_sqlite
def test_a_locked_trail_holds_up_no_write(cli: FlaskCliRunner, anna: Desk, settings: Settings):
    conversation_id = anna.conversation("393331234567")
    blocker = sqlite3.connect(
        str(sqlite_path(settings.database_url)), isolation_level=None, check_same_thread=False
    )

    with before_each_move(lambda _driver: blocker.execute("BEGIN IMMEDIATE")):
        anna.link(conversation_id)
    try:
        assert blocker.in_transaction
        assert link_state(conversation_id).link_version == 1
        assert len(link_state(conversation_id).outbox or []) == 1
        assert trail() == []
    finally:
        blocker.execute("ROLLBACK")
    assert run(cli, "audit", "drain") == "moved 1"
    assert len(trail(conversation_id)) == 1
    assert verified(cli)


def test_a_write_and_its_move_take_one_connection(client: Browser, anna: Desk):
    client.sign_in(anna.operator.email, anna.operator.password)
    path = f"/links/{anna.conversation('393331234567')}"
    page = client.get_page(path)
    taken: list[object] = []
    event.listen(db.engine, "checkout", lambda *call: taken.append(call))
    for repeat in (1, 2):  # the second writes nothing, and so has no move to hand its connection to
        assert client.submit(page, path, reason="so it is", create="1").status_code == 303
        assert (len(taken), len(trail())) == (repeat, 1)


def test_the_next_write_moves_what_waits(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    breaks, mends = BROKEN["missing"]
    execute(*breaks)
    anna.link(conversation_id)
    execute(*mends)
    anna.unlink(conversation_id)
    assert [one["sequence"] for one in trail(conversation_id)] == [1, 2]
    assert link_state(conversation_id).outbox is None


def test_the_next_start_moves_what_waits(app: Flask, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    breaks, mends = BROKEN["missing"]
    execute(*breaks)
    anna.link(conversation_id)
    linking.catch_up(app)
    assert len(link_state(conversation_id).outbox or []) == 1
    execute(*mends)
    linking.catch_up(app)
    assert link_state(conversation_id).outbox is None
    assert len(trail(conversation_id)) == 1


def test_a_start_on_a_database_that_is_not_there_goes_on(tmp_path: Path):
    linking.catch_up(create_app(settings_for(tmp_path / "nothing.db")))
    assert not (tmp_path / "nothing.db").exists()


def test_a_failing_move_is_logged_and_counted(anna: Desk, capfd: pytest.CaptureFixture[str]):
    counted = audit._failed_moves._value.get()
    execute(*BROKEN["missing"][0])
    anna.link(anna.conversation("393331234567"), reason="a reason nobody may log")
    assert audit._failed_moves._value.get() == counted + 1
    logged = capfd.readouterr().err
    assert "audit_move_failed" in logged
    assert "393331234567" not in logged
    assert "a reason nobody may log" not in logged


def test_one_bad_outbox_holds_back_no_other(cli: FlaskCliRunner, anna: Desk):
    breaks, mends = BROKEN["missing"]
    bad, good = anna.conversation("393331234567"), anna.conversation("393330000000")
    execute(*breaks)
    anna.link(bad)
    anna.link(good)
    execute(*mends, f"UPDATE conversations SET audit_outbox = '[1]' WHERE id = '{bad}'")
    result = cli.invoke(args=["audit", "drain"])
    assert result.exit_code == 1
    assert result.stdout == "moved 1\n"
    assert "1 conversations keep their events" in result.stderr
    assert len(trail(good)) == 1
    assert not verified(cli)


def test_an_event_whose_id_is_taken_stays_where_it_is(cli: FlaskCliRunner, anna: Desk):
    first, second = anna.conversation("393331234567"), anna.conversation("393330000000")
    operation_id = uuid4()
    anna.link(first, operation_id=operation_id)
    anna.unlink(first)  # the id is no longer in the first one's row
    anna.link(second, operation_id=operation_id)
    anna.unlink(second)
    assert [one["event_id"] for one in link_state(second).outbox or []] == [str(operation_id)]
    assert cli.invoke(args=["audit", "drain"]).exit_code == 1
    assert [one["conversation_id"] for one in trail()] == [str(first)] * 2 + [str(second)]
    assert verified(cli)


@on_postgresql
def test_nothing_in_the_trail_can_be_changed_or_removed_on_a_server_by_its_owner(anna: Desk):
    anna.link(anna.conversation("393331234567"))
    before = trail()
    for statement in (
        "UPDATE audit_events SET event = 'forged'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "TRUNCATE audit_events, conversations CASCADE",
        (
            "INSERT INTO audit_events SELECT * FROM audit_events"
            " ON CONFLICT (event_id) DO UPDATE SET event = 'forged'"
        ),
    ):
        with pytest.raises(DBAPIError, match="append-only"), back_door() as connection:
            connection.execute(text(statement))
    assert trail() == before


@on_sqlite
def test_nothing_in_the_trail_can_be_changed_or_removed(anna: Desk):
    anna.link(anna.conversation("393331234567"))
    before = trail()
    row = "SELECT position, event_id, conversation_id, instructor_id, sequence, 'forged' FROM audit_events"
    for statement in (
        "UPDATE audit_events SET event = 'forged'",
        "UPDATE audit_events SET position = 9",
        "DELETE FROM audit_events",
        f"INSERT OR REPLACE INTO audit_events {row.replace('event_id', 'lower(hex(randomblob(16)))')}",
        f"INSERT OR REPLACE INTO audit_events {row.replace('position', '9').replace('event_id', '1')}",
    ):
        with pytest.raises(IntegrityError, match="append-only"), writing() as connection:
            connection.execute(text(statement))
    execute(f"INSERT OR REPLACE INTO audit_events {row}")
    assert trail() == before
