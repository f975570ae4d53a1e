"""`flask person export`: everything that is held about one person, and nothing about anyone else."""

import json
from typing import Any

from console.ingestion.service import ingest_payload
from testkit.databases import execute, rows
from testkit.factories import Desk, desk, link_state, payload
from tests.linking.test_audit import BROKEN
from tests.person.conftest import Person

NUMBER, OTHER = "393331234567", "447700900461"


def exported(person: Person, identifier: str = NUMBER) -> Any:
    """Return what the command writes."""
    result = person("export", identifier)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_everything_about_a_person_is_written_out(anna: Desk, person: Person):
    conversation_id = anna.conversation(NUMBER, text="Grüße")
    written = anna.conversation("+39 333 1234567", text="again")
    anna.link(conversation_id, reason="rang from Gao")
    broken = json.loads(payload("404", NUMBER, text="to no account"))
    ingest_payload(json.dumps(broken).encode())
    held = exported(person)
    assert held["identifier"] == NUMBER
    assert [row["id"] for row in held["conversations"]] == [str(conversation_id), str(written)]
    assert [message["body"] for message in held["messages"]] == ["Grüße", "again"]
    (customer,) = held["customers"]
    assert customer["normalized_identifier"] == NUMBER
    assert held["conversations"][0]["customer_id"] == customer["id"]
    (event,) = held["link_events"]
    assert (event["reason"], event["new_customer_id"]) == ("rang from Gao", customer["id"])
    (kept,) = held["kept_payloads"]
    assert kept["parts"][0]["text"]["body"] == "to no account"


def test_nothing_about_anyone_else_is_written_out(anna: Desk, person: Person):
    own, others = anna.conversation(NUMBER), anna.conversation(OTHER, text="not hers")
    anna.link(own, anna.customer(OTHER), reason="mistaken for another")
    other_customer = link_state(own).customer_id
    anna.link(own, confirmed=True)
    anna.link(others, link_state(own).customer_id, reason="about both of them")
    anna.unlink(others)
    mixed = json.loads(payload("404", NUMBER, text="hers"))
    messages = mixed["entry"][0]["changes"][0]["value"]["messages"]
    messages.append({**messages[0], "from": OTHER, "id": "w.2", "text": {"body": "beside"}})
    ingest_payload(json.dumps(mixed).encode())
    ingest_payload(f'{{"from": "{NUMBER}", "beside": "{OTHER}'.encode())
    desk(anna.cli, "Bruno Pichler").conversation(NUMBER, text="to Bruno")
    held = exported(person)
    written = json.dumps(held)
    for anothers in (OTHER, str(others), str(other_customer), "not hers", "about both", "beside", "to Bruno"):
        assert anothers not in written, anothers
    assert "mistaken for another" in written
    assert [len(item["parts"]) for item in held["kept_payloads"]] == [1, 1]
    assert held["kept_payloads"][1]["parts"] == [None]
    shared = [event for event in held["link_events"] if "reason" not in event]
    assert [item["event_name"].rpartition("_")[2] for item in shared] == ["linked", "unlinked"]


def test_events_that_wait_are_written_out_once(anna: Desk, person: Person):
    own, others = anna.conversation(NUMBER), anna.conversation(OTHER)
    anna.link(own, reason="rang from Gao")
    breaks, repairs = BROKEN["missing"]
    execute(*breaks)
    anna.link(others, link_state(own).customer_id, reason="about both of them")
    anna.unlink(own, reason="waits")
    execute(*repairs)
    held = exported(person)["link_events"]
    assert [(event["event_name"].rpartition("_")[2], event.get("reason")) for event in held] == [
        ("linked", "rang from Gao"),
        ("unlinked", "waits"),
        ("linked", None),
    ]


def test_an_outbox_that_cannot_be_read_is_an_error_in_one_line(anna: Desk, person: Person):
    conversation_id = anna.conversation(NUMBER)
    execute(f"UPDATE conversations SET audit_outbox = '[1]' WHERE id = '{conversation_id}'")
    refused = person("export", NUMBER)
    assert refused.exit_code == 1
    assert "flask audit verify" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_export_writes_nothing(anna: Desk, person: Person):
    anna.link(anna.conversation(NUMBER))
    before = rows("SELECT * FROM conversations") + rows("SELECT * FROM audit_events")
    assert exported(person) == exported(person, "+39 333 123 4567") | {"identifier": NUMBER}
    assert rows("SELECT * FROM conversations") + rows("SELECT * FROM audit_events") == before


def test_an_unknown_person_is_an_answer_too(person: Person):
    held = exported(person, "40404")
    assert not any(held[name] for name in held if name not in ("identifier", "instructor_id"))
