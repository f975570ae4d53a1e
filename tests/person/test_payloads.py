"""A kept payload is taken apart: what is one person's, and what stays for everyone else."""

import json
from typing import Any

import pytest

from console.person.identity import Person
from console.person.payloads import take_apart

NUMBER, OTHER, USER_ID = "393331234567", "447700900461", "US.13491208655302741918"
ACCOUNT = "100200300400500"


def message(sender: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a message as WhatsApp sends it."""
    sent_by = {"from": sender} if sender else {}
    return {**sent_by, "id": "wamid.1", "timestamp": "1790000000", "type": "text", **fields}


def payload(*messages: Any, field: str = "messages", **value: Any) -> str:
    """Return a webhook payload."""
    metadata = {"display_phone_number": "390000000000", "phone_number_id": ACCOUNT}
    change = {"field": field, "value": {"metadata": metadata, "messages": list(messages), **value}}
    return json.dumps({"object": "whatsapp_business_account", "entry": [{"id": "7", "changes": [change]}]})


def contact(**fields: Any) -> dict[str, Any]:
    """Return a contact."""
    return {"profile": {"name": "Carla"}, **fields}


def parts(written: str, *, identifier: str = NUMBER, elsewhere: tuple[str, ...] = ()) -> Any:
    """Take a payload apart for a person."""
    theirs, rest = take_apart(written, Person(identifier), elsewhere)
    return theirs, json.loads(rest) if rest else rest


THEIRS = {
    "their message": payload(message(NUMBER)),
    "their message and contact": payload(message(NUMBER), contacts=[contact(wa_id=NUMBER)]),
    "a number as people write it": payload(message("+39 333 123 45 67")),
    "a number that is no text": payload({"from": int(NUMBER), "id": 7}),
    "in a group": payload(message(NUMBER, group_id="g")),
    "what was written to them": payload(message(OTHER, to=NUMBER)),
    "an echo in standby": payload(message(message={"to": NUMBER})),
    "a status": payload(statuses=[{"id": "wamid.1", "status": "read", "recipient_id": NUMBER}]),
    "a message with a user id alone, whose contact has the number": payload(
        message(from_user_id="US.1"), contacts=[contact(wa_id=NUMBER, user_id="US.1")]
    ),
    "a message without a name, from the only contact": payload(message(), contacts=[contact(wa_id=NUMBER)]),
    "a system message without a sender": payload(
        message(type="system", system={"body": f"User {NUMBER} changed to {OTHER}"})
    ),
    "a thread of the history": payload(
        history=[{"threads": [{"id": NUMBER, "messages": [message("390000000000")]}]}], field="history"
    ),
    "a contact of the address book": payload(
        state_sync=[{"type": "contact", "contact": {"full_name": "Carla", "phone_number": NUMBER}}]
    ),
    "a statement": payload(user_id_update=[{"wa_id": NUMBER, "detail": "changed"}], field="user_id_update"),
    "no list at all": json.dumps({"entry": {"from": NUMBER}}),
    "only a string": json.dumps(f"from {NUMBER}"),
}


@pytest.mark.parametrize("what", THEIRS)
def test_a_part_about_one_person_is_taken_whole(what: str):
    theirs, rest = parts(THEIRS[what])
    assert theirs
    assert rest is None


@pytest.mark.parametrize(
    "written", ["{", f"{{{NUMBER}", f'{{"from": "+39 333-123.4567", {OTHER}', "[" * 100_000]
)
def test_an_invalid_payload_that_names_the_person_is_taken_whole(written: str):
    names = "333" in written
    assert take_apart(written, Person(NUMBER), ()) == (([None], None) if names else ([], written))


@pytest.mark.parametrize(
    "of_others",
    [
        message(OTHER),
        message(OTHER, text={"body": f"ask {NUMBER}"}),
        message(OTHER, type="contacts", contacts=[{"phones": [{"phone": NUMBER, "wa_id": NUMBER}]}]),
        message(OTHER, id=NUMBER, timestamp=NUMBER),
        message(f"1{NUMBER}"),
    ],
    ids=["another's", "that mentions", "with a card", "with such an id", "with a longer number"],
)
def test_others_messages_stay_as_they_are(of_others: dict[str, Any]):
    alone = payload(of_others)
    assert take_apart(alone, Person(NUMBER), ()) == ([], alone)
    mine = message(NUMBER, text={"body": "mine"})
    theirs, rest = parts(payload(mine, of_others, contacts=[contact(wa_id=NUMBER), contact(wa_id=OTHER)]))
    assert theirs == [contact(wa_id=NUMBER), mine] or theirs == [mine, contact(wa_id=NUMBER)]
    assert rest == json.loads(payload(of_others, contacts=[contact(wa_id=OTHER)]))


def test_a_payload_for_another_instructor_is_not_the_persons():
    for written in (payload(message(NUMBER)), payload(statement={"wa_id": NUMBER}, field="unknown")):
        assert parts(written)[1] is None
        assert take_apart(written, Person(NUMBER), {ACCOUNT}) == ([], written)


def test_the_accounts_own_number_names_no_person():
    written = payload(message(OTHER))
    assert take_apart(written, Person("390000000000"), ()) == ([], written)


def test_a_user_id_is_found_to_the_letter():
    assert parts(payload(message(None, from_user_id=USER_ID)), identifier=USER_ID)[1] is None
    other = payload(message(None, from_user_id=USER_ID.lower()))
    assert take_apart(other, Person(USER_ID), ()) == ([], other)


def test_an_identifier_that_does_not_normalise_is_found_as_it_is():
    assert parts(payload(message("12345")), identifier="12345")[1] is None
    other = payload(message("+12345"))
    assert take_apart(other, Person("12345"), ()) == ([], other)
