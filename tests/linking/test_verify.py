"""`flask audit verify`: every link is explained by its events, and whatever isn't is named."""

import json
from collections.abc import Callable
from functools import partial
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskCliRunner
from sqlalchemy import text

from console.database import append_only_lifted
from console.linking import verification
from testkit.databases import POSTGRESQL, back_door, execute, on_sqlite
from testkit.factories import Desk, run, trail
from testkit.statements import statements
from tests.linking.test_audit import BROKEN, verified


def set_link(conversation_id: UUID, assignment: str) -> None:
    execute(f"UPDATE conversations SET {assignment} WHERE id = '{conversation_id}'")


def add_event(conversation_id: UUID, forge: Callable[[dict[str, object]], None]) -> None:
    """Add a forged copy of a conversation's last event to its trail."""
    forged = trail(conversation_id)[-1]
    forged.update(event_id=str(uuid4()), sequence=int(forged["sequence"]) + 1)
    forge(forged)
    with back_door() as connection:
        on_server = connection.dialect.name == POSTGRESQL
        guard = "ALTER TABLE audit_events DISABLE TRIGGER audit_events_instructor"
        connection.execute(text(guard if on_server else "DROP TRIGGER IF EXISTS audit_events_instructor"))
        connection.execute(
            text(
                "INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event)"
                " VALUES (:e, :c, :i, :s, :line)"
            ),
            {
                "e": forged["event_id"],
                "c": str(conversation_id),
                "i": forged["instructor_id"],
                "s": forged["sequence"],
                "line": json.dumps(forged),
            },
        )


def add_waiting(conversation_id: UUID, *forged: dict[str, object]) -> None:
    """Put forged copies of a conversation's last event into its outbox."""
    event = trail(conversation_id)[-1]
    outbox = json.dumps([event | changes for changes in forged]).replace("'", "''")
    set_link(conversation_id, f"audit_outbox = '{outbox}'")


def rewrite_line(conversation_id: UUID, forged: dict[str, object]) -> None:
    """Give the line of a conversation's last event other values than its row has."""
    event = trail(conversation_id)[-1]
    change = text(
        "UPDATE audit_events SET event = :line WHERE conversation_id = :id AND sequence = :sequence"
    )
    with back_door() as connection, append_only_lifted(connection):
        connection.execute(
            change,
            {"line": json.dumps(event | forged), "id": str(conversation_id), "sequence": event["sequence"]},
        )


# What verify has to notice: how the conversation is tampered with, and what is said of it.
TAMPERED: dict[str, tuple[Callable[[UUID], None], str]] = {
    "a customer that was not linked": (
        lambda id_: set_link(id_, "customer_id = NULL"),
        "the last event left another customer",
    ),
    "a version that was not written": (
        lambda id_: set_link(id_, "link_version = 7"),
        "there are 2 events for 7 writes",
    ),
    "an event without a write": (
        lambda id_: add_event(
            id_, lambda fields: fields.update(previous_customer_id=fields["new_customer_id"])
        ),
        "there are 3 events for 2 writes",
    ),
    "a gap": (lambda id_: add_event(id_, lambda fields: fields.update(sequence=9)), "event 3 is missing"),
    "a wrong previous customer": (
        lambda id_: add_event(id_, lambda fields: fields.update(previous_customer_id=str(uuid4()))),
        "event 3 replaces a customer",
    ),
    "an event of another instructor": (
        lambda id_: add_event(id_, lambda fields: fields.update(instructor_id=str(uuid4()))),
        "event 3 is about another conversation or instructor",
    ),
    **{
        f"a line with another {name}": (
            partial(rewrite_line, forged={name: value}),
            "an event's row and its JSON line disagree",
        )
        for name, value in {
            "event_id": str(uuid4()),
            "conversation_id": str(uuid4()),
            "instructor_id": str(uuid4()),
            "sequence": 9,
        }.items()
    },
    "a waiting event whose id is taken": (
        lambda id_: add_waiting(id_, {"sequence": 3}),
        "the trail holds the id of the waiting event",
    ),
    "a waiting event whose sequence is taken": (
        lambda id_: add_waiting(id_, {"event_id": str(uuid4())}),
        "the trail holds the sequence of the waiting event",
    ),
    "an outbox with something else": (
        lambda id_: set_link(id_, "audit_outbox = '[1]'"),
        "an event is invalid",
    ),
}


@pytest.mark.shows("CM-2.5.7", "T5.6", "CM-2.2.20")
@pytest.mark.parametrize("how", TAMPERED)
def test_verify_names_every_conversation_that_its_events_do_not_explain(
    cli: FlaskCliRunner, anna: Desk, how: str
):
    names_what_its_events_do_not_explain(cli, anna, *TAMPERED[how])


@on_sqlite
def test_verify_names_an_outbox_that_is_no_json(cli: FlaskCliRunner, anna: Desk):
    names_what_its_events_do_not_explain(
        cli, anna, lambda id_: set_link(id_, "audit_outbox = '[{'"), "an event is invalid"
    )


def names_what_its_events_do_not_explain(
    cli: FlaskCliRunner, anna: Desk, tamper: Callable[[UUID], None], said: str
) -> None:
    """Tamper with one of two linked conversations, and expect that one alone to be named."""
    whole, tampered = anna.conversation("393330000000"), anna.conversation("393331234567")
    for conversation_id in (whole, tampered):
        anna.link(conversation_id)
    anna.link(tampered, anna.customer("393332222222"), confirmed=True)
    assert verified(cli)
    tamper(tampered)
    result = cli.invoke(args=["audit", "verify"])
    assert result.exit_code == 1
    (line,) = result.stdout.splitlines()
    assert line.startswith(f"{tampered} {said}")


@pytest.mark.shows("CM-2.5.7")
def test_verify_names_every_waiting_event_whose_id_or_sequence_is_taken(cli: FlaskCliRunner, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    taken, new = trail(conversation_id)[0]["event_id"], str(uuid4())
    add_waiting(conversation_id, {"sequence": 2}, {"event_id": new})
    (line,) = cli.invoke(args=["audit", "verify"]).stdout.splitlines()
    assert line == (
        f"{conversation_id} the trail holds the id of the waiting event {taken} for another event;"
        f" the trail holds the sequence of the waiting event {new} for another event"
    )


def link_two_and_put(anna: Desk, position: int, *, at: int) -> None:
    """Make the events 1 and 2, and give one of them another position."""
    for number in ("393330000000", "393331234567"):
        anna.link(anna.conversation(number))
    with back_door() as connection, append_only_lifted(connection):
        connection.execute(text(f"UPDATE audit_events SET position = {at} WHERE position = {position}"))


@pytest.mark.shows("CM-2.5.7", "CM-2.5.11", "T5.3")
def test_verify_names_positions_that_are_missing(cli: FlaskCliRunner, anna: Desk):
    link_two_and_put(anna, 2, at=7)
    result = cli.invoke(args=["audit", "verify"])
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "positions 2 to 6 are missing",
        "the trail ends at position 7, and the last position given is 2",
    ]


@pytest.mark.shows("CM-2.5.7")
def test_verify_names_positions_that_are_missing_before_the_first(cli: FlaskCliRunner, anna: Desk):
    link_two_and_put(anna, 1, at=5)
    assert cli.invoke(args=["audit", "verify"]).stdout.splitlines()[:2] == [
        "positions 1 to 1 are missing",
        "positions 3 to 4 are missing",
    ]


@pytest.mark.shows("CM-2.5.7")
def test_the_place_of_an_event_that_is_away_is_not_given_again(cli: FlaskCliRunner, anna: Desk):
    link_two_and_put(anna, 2, at=0)
    anna.link(anna.conversation("393332222222"))
    assert "positions 2 to 2 are missing" in cli.invoke(args=["audit", "verify"]).stdout.splitlines()


@pytest.mark.shows("CM-2.5.7", "CM-2.2.20")
@pytest.mark.parametrize(
    "assignment", ["customer_id = '{customer_id}'", "link_version = 1", "audit_outbox = '[1]'"]
)
def test_verify_notices_a_link_without_any_event(cli: FlaskCliRunner, anna: Desk, assignment: str):
    conversation_id, customer_id = anna.conversation("393331234567"), anna.customer("393330000000")
    assert verified(cli)
    set_link(conversation_id, assignment.format(customer_id=customer_id))
    assert not verified(cli)


def test_verify_names_conversations_in_the_order_of_their_ids(cli: FlaskCliRunner, anna: Desk):
    ids = [anna.conversation(f"39333123{number:04}") for number in range(20)]
    for conversation_id in ids:
        set_link(conversation_id, "link_version = 1")
    named = cli.invoke(args=["audit", "verify"]).stdout.splitlines()
    assert [next(str(row) for row in ids if str(row) in line) for line in named] == sorted(map(str, ids))


def test_verify_accepts_an_empty_trail(cli: FlaskCliRunner):
    assert run(cli, "audit", "verify") == "verified 0 conversations: their events explain every link"


def test_a_trail_that_cannot_be_read_fails_in_one_line(cli: FlaskCliRunner):
    execute(*BROKEN["missing"][0])
    for command in ("verify", "export"):
        result = cli.invoke(args=["audit", command])
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1


def test_verify_reads_a_few_conversations_at_a_time(anna: Desk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(verification, "_CHUNK", 2)
    conversation_ids = [anna.conversation(f"39333123456{number}") for number in range(5)]
    breaks, repairs = BROKEN["missing"]
    execute(*breaks)
    for conversation_id in conversation_ids:
        anna.link(conversation_id)
        anna.unlink(conversation_id)
    execute(*repairs)
    with statements() as seen:
        assert dict(verification.verify()) == dict.fromkeys(conversation_ids)
    assert len([statement for statement in seen if "conversations.id IN" in statement]) == 3
    # Two events wait in each conversation, so the last chunk needs one statement and the others two.
    assert len([statement for statement in seen if "audit_events.event_id IN" in statement]) == 5


def test_verify_names_events_of_a_conversation_that_is_not_there(cli: FlaskCliRunner, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    execute("DELETE FROM messages", "DELETE FROM link_operations", "DELETE FROM conversations")
    told = cli.invoke(args=["audit", "verify"]).stdout
    assert told == f"{conversation_id} there are events, but no such conversation\n"
