"""`flask person erase`: all of a person, nothing of anyone else's, by the owner alone; the trail stays."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskCliRunner
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from console.database import append_only_lifted, db
from console.ingestion.service import ingest_payload
from console.linking import service
from console.linking.events import line_digest
from console.linking.history import export
from console.linking.verification import tombstones
from testkit.databases import back_door, execute, on_postgresql, rows
from testkit.factories import Desk, desk, link_state, payload, run, trail
from testkit.pages import Browser
from tests.person.conftest import ERASE, NUMBER, OTHER, Person, count, kept, lines


@pytest.mark.shows("CM-2.5.E1", "CM-2.5.E2", "T5.7")
def test_each_event_becomes_a_tombstone_in_its_place(anna: Desk, cli: FlaskCliRunner, person: Person):
    own, others = anna.conversation(NUMBER), anna.conversation(OTHER)
    anna.link(own)
    anna.link(others, link_state(own).customer_id)
    anna.unlink(others)
    anna.unlink(own)
    anna.link(others)
    before = lines()
    erased = person("erase", NUMBER, *ERASE)
    assert erased.exit_code == 0, erased.output
    assert erased.stdout.splitlines()[-1] == (
        "erased: 1 conversations, 1 messages, 1 customers, 4 link events, 0 kept payloads"
    )
    after = lines()
    assert [position for position, _ in after] == [position for position, _ in before] == [1, 2, 3, 4, 5]
    assert after[4] == before[4]
    tombstones = [json.loads(line) for _, line in after[:4]]
    assert [list(event) for event in tombstones] == [["erased", "conversation_id", "sequence", "sha256"]] * 4
    assert [event["sha256"] for event in tombstones] == [
        sha256(line.encode()).hexdigest() for _, line in before[:4]
    ]
    assert [line_digest(line) for _, line in after] == [line_digest(line) for _, line in before]
    assert [event["sequence"] for event in tombstones] == [1, 1, 2, 2]
    (moment,) = {event["erased"] for event in tombstones}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", moment)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds() < 60
    mine, cousins, again, last = (UUID(event["conversation_id"]) for event in tombstones)
    assert cousins == again == others
    assert mine == last != own
    columns = rows("SELECT event_id, conversation_id, sequence FROM audit_events ORDER BY position")
    assert [(UUID(row), number) for _, row, number in columns[:4]] == [
        (mine, 1),
        (others, 1),
        (others, 2),
        (mine, 2),
    ]
    assert not {event_id for event_id, *_ in columns} & {
        json.loads(line)["event_id"] for _, line in before[:4]
    }
    assert run(cli, "audit", "verify").splitlines()[1:] == [
        *(f"position {position} erased {moment}" for position in (1, 2, 3, 4)),
        "4 tombstones",
    ]
    assert [json.loads(line) for line in run(cli, "audit", "export").splitlines()[:4]] == tombstones


@on_postgresql
def test_a_customer_erased_while_a_write_links_to_them_is_no_customer(anna: Desk):
    conversation_id, customer_id = anna.conversation(NUMBER), anna.customer(OTHER)

    def erase(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE conversations"):
            execute(f"DELETE FROM customers WHERE id = '{customer_id}'")

    event.listen(db.engine, "before_cursor_execute", erase)
    with pytest.raises(service.CustomerNotFound):
        anna.link(conversation_id, customer_id)
    assert link_state(conversation_id).link_version == 0


def test_tombstones_and_events_are_told_in_the_order_of_the_trail(anna: Desk, person: Person):
    third = "393332222222"
    for number in (NUMBER, OTHER, third):
        anna.link(anna.conversation(number))
    for number in (third, NUMBER, OTHER):  # in no order that a table on PostgreSQL keeps
        person("erase", number, *ERASE)
    assert [position for position, _ in tombstones()] == [1, 2, 3]
    assert [position for position, _ in export()] == [1, 2, 3]


def test_verify_accepts_whatever_customer_an_erased_event_left(
    anna: Desk, cli: FlaskCliRunner, person: Person
):
    conversation_id = anna.conversation("447700900123")
    anna.link(conversation_id, anna.customer(NUMBER))
    for number in (OTHER, "393332222222"):
        anna.link(conversation_id, anna.customer(number), confirmed=True)
    assert person("erase", NUMBER, *ERASE).exit_code == 0
    assert run(cli, "audit", "verify").endswith(" tombstones")


def test_erasing_again_changes_nothing(anna: Desk, person: Person):
    anna.link(anna.conversation(NUMBER))
    person("erase", NUMBER, *ERASE)
    before = lines()
    again = person("erase", "+39 333 1234567", *ERASE)
    assert again.exit_code == 0
    assert again.stdout.splitlines()[-1].startswith(
        "erased: 0 conversations, 0 messages, 0 customers, 0 link"
    )
    assert lines() == before


@pytest.mark.shows("CM-2.3.8", "CM-2.5.E1")
def test_an_operation_id_stays_taken_when_its_person_is_erased(anna: Desk, person: Person):
    erased, operation_id = anna.conversation(NUMBER), uuid4()
    anna.link(erased, operation_id=operation_id)
    assert person("erase", NUMBER, *ERASE).exit_code == 0
    kept = "SELECT operation_id, conversation_id, digest FROM link_operations"
    assert rows(kept) == [(str(operation_id), str(UUID(int=0)), None)]
    with pytest.raises(service.OperationReused):
        anna.link(anna.conversation(OTHER), operation_id=operation_id)


def test_an_earlier_tombstone_keeps_its_digest_and_its_moment(anna: Desk, person: Person):
    conversation_id = anna.conversation(NUMBER)
    anna.link(conversation_id, anna.customer(OTHER))
    anna.unlink(conversation_id)
    person("erase", OTHER, *ERASE)
    first = [json.loads(line) for _, line in lines()]
    assert person("erase", NUMBER, *ERASE).exit_code == 0
    second = [json.loads(line) for _, line in lines()]
    for name in ("sha256", "erased", "sequence"):
        assert [row[name] for row in second] == [row[name] for row in first]
    assert str(conversation_id) not in {row["conversation_id"] for row in second}


def test_the_same_person_with_another_instructor_is_another(anna: Desk, cli: FlaskCliRunner, person: Person):
    bruno = desk(cli, "Bruno Pichler")
    for item in (anna, bruno):
        item.link(item.conversation(NUMBER))
        broken = json.loads(payload(item.phone_number_id, NUMBER))
        broken["entry"][0]["changes"][0]["value"]["messages"][0]["timestamp"] = "never"
        ingest_payload(json.dumps(broken).encode())
    assert person("erase", NUMBER, *ERASE).exit_code == 0
    for table in ("conversations", "messages", "customers", "rejected_payloads"):
        assert count(table) == 1, table
    assert rows("SELECT instructor_id FROM customers") == [(str(bruno.instructor_id),)]
    assert bruno.phone_number_id in json.dumps(kept())


@pytest.mark.parametrize(
    ("given", "theirs", "anothers"),
    [
        ("+39 333 123 4567", ["393331234567", "0039 (333) 123-4567"], ["393331234568", "3331234567"]),
        ("US.13491208655302741918", [" US.13491208655302741918"], ["US.13491208655302741919"]),
        ("40404", ["40404"], ["+40404", "404040"]),
    ],
)
def test_every_written_form_is_theirs(
    anna: Desk, person: Person, given: str, theirs: list[str], anothers: list[str]
):
    for identifier in [*theirs, *anothers]:
        anna.conversation(identifier)
    assert person("erase", given, *ERASE).exit_code == 0
    left = rows("SELECT customer_identifier FROM conversations ORDER BY id")
    assert [identifier for (identifier,) in left] == anothers
    assert count("messages") == len(anothers)


def test_a_kept_payload_keeps_what_is_others_and_can_be_tried_again(
    anna: Desk, cli: FlaskCliRunner, person: Person
):
    line = payload("404", OTHER, text="beside", external_id="w.1")
    mixed = json.loads(line)
    messages = mixed["entry"][0]["changes"][0]["value"]["messages"]
    messages.append({**messages[0], "from": "+39 333 1234567", "id": "w.2"})
    ingest_payload(json.dumps(mixed).encode())
    assert person("erase", NUMBER, *ERASE).exit_code == 0
    assert kept() == [json.loads(line)]
    cli.invoke(args=["channel", "add", "whatsapp", "404", "--instructor", str(anna.instructor_id)])
    assert "stored 1" in run(cli, "ingest", "--rejected")
    assert rows("SELECT body FROM messages") == [("beside",)]


def test_why_a_kept_payload_was_dismissed_is_erased_with_its_part(cli: FlaskCliRunner, person: Person):
    mixed = json.loads(payload("404", OTHER))
    messages = mixed["entry"][0]["changes"][0]["value"]["messages"]
    messages.append({**messages[0], "from": NUMBER})
    ingest_payload(json.dumps(mixed).encode())
    ((payload_id,),) = rows("SELECT id FROM rejected_payloads")
    run(cli, "rejected", "dismiss", payload_id, "--reason", "the one from Timbuktu is known")
    assert person("erase", NUMBER, *ERASE).exit_code == 0
    ((reason, who),) = rows("SELECT dismissed_reason, dismissed_by FROM rejected_payloads")
    assert (reason, bool(who)) == ("erased", True)


def test_the_rest_of_a_kept_payload_is_not_kept_twice(person: Person):
    line = payload("404", OTHER, external_id="w.1")
    mixed = json.loads(line)
    messages = mixed["entry"][0]["changes"][0]["value"]["messages"]
    for number in ("2", "3"):
        messages[1:] = [{**messages[0], "from": NUMBER, "id": f"w.{number}"}]
        ingest_payload(json.dumps(mixed).encode())
    assert count("rejected_payloads") == 2
    assert person("erase", NUMBER, *ERASE).exit_code == 0
    assert kept() == [json.loads(line)]


def test_events_that_wait_are_moved_and_erased(anna: Desk, cli: FlaskCliRunner, person: Person):
    conversation_id = anna.conversation(NUMBER)
    execute("ALTER TABLE audit_events RENAME TO mislaid")
    anna.link(conversation_id)
    execute("ALTER TABLE mislaid RENAME TO audit_events")
    assert link_state(conversation_id).outbox
    assert person("erase", NUMBER, *ERASE).exit_code == 0
    assert [list(event) for event in trail()] == [["erased", "conversation_id", "sequence", "sha256"]]
    run(cli, "audit", "verify")


@pytest.mark.shows("CM-2.5.E5")
def test_the_trail_is_append_only_again(anna: Desk, person: Person):
    anna.link(anna.conversation(NUMBER))
    assert person("erase", NUMBER, *ERASE).exit_code == 0
    for statement in ("UPDATE audit_events SET event = '{}'", "DELETE FROM audit_events"):
        with pytest.raises(DBAPIError, match="append-only"):
            execute(statement)


FORGED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "one more field": lambda item: {**item, "reason": "she asked"},
    "a field less": lambda item: {name: item[name] for name in ("erased", "conversation_id", "sequence")},
    "another order": lambda item: dict(sorted(item.items())),
    "a digest in capitals": lambda item: {**item, "sha256": item["sha256"].upper()},
    "a digest too short": lambda item: {**item, "sha256": item["sha256"][:-2]},
    "no digest": lambda item: {**item, "sha256": None},
    "another sequence": lambda item: {**item, "sequence": item["sequence"] + 1},
    "a sequence that is text": lambda item: {**item, "sequence": str(item["sequence"])},
    "another conversation": lambda item: {**item, "conversation_id": str(uuid4())},
    "a moment that is none": lambda item: {**item, "erased": "yesterday"},
    "a moment before all others": lambda item: {**item, "erased": "0001-01-01T00:00:00+05:00"},
    "a moment without its zone": lambda item: {**item, "erased": item["erased"].rstrip("Z")},
    "nothing": lambda item: {},
}


@pytest.mark.shows("CM-2.5.E3", "T5.7")
@pytest.mark.parametrize("how", FORGED)
def test_verify_takes_nothing_else_for_an_event(anna: Desk, cli: FlaskCliRunner, person: Person, how: str):
    others = anna.conversation(OTHER)
    anna.link(others, anna.customer(NUMBER))
    anna.unlink(others)
    assert person("erase", NUMBER, *ERASE).exit_code == 0
    position, line = lines()[-1]
    forged = json.dumps(FORGED[how](json.loads(line)))
    tamper(position, forged)
    result = cli.invoke(args=["audit", "verify"])
    assert result.exit_code == 1
    assert str(others) in result.stdout
    tamper(position, line)
    run(cli, "audit", "verify")


def tamper(position: int, line: str) -> None:
    """Change a line as the owner of the tables can."""
    with back_door() as connection, append_only_lifted(connection):
        change = text("UPDATE audit_events SET event = :line WHERE position = :position")
        connection.execute(change, {"line": line, "position": position})


def test_an_event_that_is_left_out_beside_a_tombstone_is_missed(
    anna: Desk, cli: FlaskCliRunner, person: Person
):
    others = anna.conversation(OTHER)
    anna.link(others, anna.customer(NUMBER))
    anna.unlink(others)
    anna.link(others)
    person("erase", NUMBER, *ERASE)
    _, line = lines()[-1]
    tamper(lines()[-1][0], line.replace(str(link_state(others).customer_id), str(uuid4())))
    assert "another customer" in cli.invoke(args=["audit", "verify"]).stdout


def test_pages_say_that_a_change_was_erased(anna: Desk, client: Browser, person: Person):
    others = anna.conversation(OTHER)
    anna.link(others, anna.customer(NUMBER), reason="rang from Timbuktu")
    other_customer = anna.customer("393330000000")
    anna.link(others, other_customer, confirmed=True)
    assert person("erase", NUMBER, *ERASE).exit_code == 0
    client.sign_in(anna.operator.email, anna.operator.password)
    page = client.get_page(f"/links/{others}")
    assert page.text.count("This change was erased") == 2
    assert "Timbuktu" not in page.text
    asked = client.submit(page, f"/links/{others}/unlink", reason="by mistake")
    dialog = client.check(asked, 409).select_one("dialog")
    assert dialog
    assert "was erased on" in dialog.text
    stale = client.check(
        client.submit(page, f"/links/{others}", seen_version="1", reason="late", create="1"), 409
    )
    assert "Can’t be read now" in stale.text


def test_an_erased_conversation_is_gone_for_an_operator_who_had_it_open(
    anna: Desk, client: Browser, person: Person
):
    conversation_id = anna.conversation(NUMBER)
    client.sign_in(anna.operator.email, anna.operator.password)
    page = client.get_page(f"/links/{conversation_id}")
    assert person("erase", NUMBER, *ERASE).exit_code == 0
    assert client.submit(page, f"/links/{conversation_id}", create="1", reason="too late").status_code == 404
    assert count("customers") == 0


def test_a_new_message_starts_a_new_conversation(anna: Desk, person: Person):
    before = anna.conversation(NUMBER)
    assert person("erase", NUMBER, *ERASE).exit_code == 0
    assert anna.conversation(NUMBER) != before
    assert count("conversations") == count("messages") == 1
