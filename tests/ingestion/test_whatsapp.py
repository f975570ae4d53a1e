"""How payloads are parsed, without a database."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.ingestion.whatsapp import Ignored, IncomingMessage, Rejection, parse
from tests.ingestion.payloads import ACCOUNT, SENDER, message, payload

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def only(raw: bytes) -> IncomingMessage | Rejection | Ignored:
    """Return the one item of a payload."""
    (item,) = parse(raw)
    return item


def change(field: str, value: object) -> bytes:
    """Return a webhook payload with one change."""
    entry = {"id": "200000000000001", "changes": [{"field": field, "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def read(message: dict[str, Any], **value: Any) -> IncomingMessage:
    """Return what a message that can be stored is read as."""
    item = only(payload(message, **value))
    assert isinstance(item, IncomingMessage), item
    return item


def test_a_message_is_read_with_all_that_is_stored_of_it():
    assert read(message()) == IncomingMessage(
        phone_number_id=ACCOUNT,
        identifier=SENDER,
        external_id="wamid.1",
        kind="text",
        body="Ciao",
        sent_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.mark.shows("CM-2.2.3")
@pytest.mark.parametrize(
    ("fields", "contacts", "identifier"),
    [
        pytest.param({"from": "A"}, [{"wa_id": "B", "user_id": "C"}], "A", id="from comes first"),
        pytest.param({}, [{"wa_id": "B", "user_id": "C"}], "B", id="then the contact's number"),
        pytest.param({"from": ""}, [{"wa_id": "B"}], "B", id="an empty from is none"),
        pytest.param({"from_user_id": "D"}, [{"wa_id": "B"}], "B", id="the number comes before a user id"),
        pytest.param({"from_user_id": "D"}, [{"user_id": "D"}], "D", id="then the message's user id"),
        pytest.param({"user_id": "D"}, [], "D", id="under either name"),
        pytest.param({}, [{"user_id": "C"}], "C", id="then the contact's user id"),
        pytest.param(
            {"from_user_id": "D"},
            [{"wa_id": "B", "user_id": "C"}],
            "D",
            id="another user's number is not theirs",
        ),
        pytest.param(
            {"from_user_id": "D"},
            [{"wa_id": "A", "user_id": "C"}, {"wa_id": "B", "user_id": "D"}],
            "B",
            id="of several contacts the one with the message's user id",
        ),
        pytest.param({"from": " +39 333\u202f000 "}, [], " +39 333\u202f000 ", id="kept raw"),
        pytest.param({"from": "3" * 255}, [], "3" * 255, id="as long as a column takes"),
    ],
)
def test_the_identifier_is_the_first_that_there_is(fields, contacts, identifier):
    assert read(message(**{"sender": None, **fields}), contacts=contacts).identifier == identifier


@pytest.mark.shows("CM-2.2.3")
@pytest.mark.parametrize(
    "contacts",
    [
        pytest.param([], id="no contact"),
        pytest.param("Anna", id="contacts of another shape"),
        pytest.param([{"profile": {"name": "Anna"}}], id="a contact without identifiers"),
        pytest.param([{"wa_id": "A"}, {"wa_id": "B"}], id="several contacts, and nothing that says which"),
    ],
)
def test_a_message_is_rejected_unless_its_identifier_is_surely_the_senders(contacts):
    assert only(payload(message(sender=None), contacts=contacts)) == Rejection("no identifier")


@pytest.mark.shows("CM-2.2.9")
@pytest.mark.parametrize(
    ("sender", "own", "direction"),
    [
        ("12025550100", "12025550100", "outbound"),
        ("12025550100", "+1 (202) 555-0100", "outbound"),
        ("+1 202 555 0100", 12025550100, "outbound"),
        ("12025550101", "12025550100", "inbound"),
        ("12025550100", "", "inbound"),
        ("12025550100", None, "inbound"),
        ("12025550100", [], "inbound"),
        ("12025550100", ["12025550100"], "inbound"),
        ("US.12025550100", "12025550100", "inbound"),
    ],
)
def test_a_message_from_the_accounts_own_number_is_the_instructors(sender, own, direction):
    metadata = {"phone_number_id": ACCOUNT, "display_phone_number": own}
    found = read(message(sender=sender, to="447700900001"), metadata=metadata)
    assert found.direction == direction
    assert found.identifier == ("447700900001" if direction == "outbound" else sender)


@pytest.mark.parametrize(
    ("fields", "item"),
    [
        ({"to": "A", "to_user_id": "B"}, "A"),
        ({"to": "+44 7700 900001"}, "447700900001"),
        ({"to": "447700900001"}, "447700900001"),
        ({"to_user_id": "GB.123"}, "GB.123"),
        ({"to": "", "to_user_id": "B"}, "B"),
        ({}, Rejection("no recipient")),
        ({"to": 1}, Rejection("bad to")),
        ({"from": None}, Rejection("no recipient")),
        ({"from": None, "to": "A"}, "A"),
        ({"to": "A", "group_id": "Y2Fw"}, Rejection("group message")),
    ],
)
@pytest.mark.parametrize("field", ["smb_message_echoes", "standby"])
def test_an_echo_goes_to_the_conversation_of_its_recipient(field, fields, item):
    echo = {**message(), "from": "12025550100", **fields}
    found = only(change(field, {"metadata": {"phone_number_id": ACCOUNT}, "message_echoes": [echo]}))
    assert (found.identifier if isinstance(found, IncomingMessage) else found) == item
    assert not isinstance(found, IncomingMessage) or found.direction == "outbound"


def test_every_message_in_the_field_of_echoes_is_the_instructors():
    value = {"metadata": {"phone_number_id": ACCOUNT}, "messages": [message(sender="12025550100", to="A")]}
    found = only(change("smb_message_echoes", value))
    assert isinstance(found, IncomingMessage)
    assert (found.identifier, found.direction) == ("A", "outbound")


@pytest.mark.shows("CM-2.2.7")
@pytest.mark.parametrize(
    ("sender", "system", "item"),
    [
        ("A", {"wa_id": "B", "previous_user_id": "C"}, "A"),
        (None, {"user_id": "B", "previous_user_id": "C"}, "C"),
        ("B", {"wa_id": "B", "previous_user_id": "C"}, "C"),
        ("B", {"wa_id": "B"}, Rejection("no identifier")),
        (None, {"user_id": "B", "previous_user_id": "B"}, Rejection("no identifier")),
        (None, {"wa_id": "B"}, Rejection("no identifier")),
        (None, {}, Rejection("no identifier")),
        ("A", None, "A"),
        ("A", "changed", Rejection("bad system")),
    ],
)
def test_a_system_message_belongs_to_the_identifier_that_it_speaks_of(sender, system, item):
    fields = {"type": "system", "system": system, "from_user_id": "D", "user_id": "E"}
    found = only(payload(message(sender=sender, **fields), contacts=[{"wa_id": "B"}]))
    assert (found.identifier if isinstance(found, IncomingMessage) else found) == item


def test_the_body_of_a_system_message_is_what_whatsapp_says():
    system = {"body": "User A changed from 1 to 2", "type": "user_changed_number", "wa_id": "2"}
    found = read(message(type="system", system=system))
    assert (found.kind, found.direction, found.body) == ("system", "inbound", system["body"])


@pytest.mark.parametrize(
    "around",
    [
        {"messages": [message("1")], "standby": {"message_echoes": [message("2", to="A")]}},
        {"standby": {"messages": [message("1")], "message_echoes": [message("2", to="A")]}},
        {"messages": [message("1")], "message_echoes": [message("2", to="A")]},
    ],
)
def test_standby_is_read_nested_or_not(around):
    items = parse(change("standby", {"metadata": {"phone_number_id": ACCOUNT}, **around}))
    assert [item.external_id for item in items if isinstance(item, IncomingMessage)] == ["1", "2"]
    assert len(items) == 2


@pytest.mark.parametrize(
    "around",
    [
        {"messages": [message("1")], "standby": {"messages": [message("2")]}},
        {"messages": [message("1")], "standby": [message("2")]},
    ],
)
def test_standby_of_an_unknown_shape_is_kept_beside_what_is_read(around):
    items = parse(change("standby", {"metadata": {"phone_number_id": ACCOUNT}, **around}))
    assert items[1:] == [Rejection("unexpected part of a change")]
    assert isinstance(items[0], IncomingMessage)


@pytest.mark.parametrize("timestamp", ["1", 1, "253370764799", 253370764799])
def test_a_timestamp_is_seconds_since_1970_as_text_or_number(timestamp):
    assert read(message(timestamp=timestamp)).sent_at == datetime.fromtimestamp(int(timestamp), UTC)


@pytest.mark.parametrize(
    "timestamp",
    [
        0,
        "0",
        -1,
        "-1",
        253370764800,
        "253370764800",
        1.5,
        "1.5",
        "1e9",
        True,
        "",
        " 1",
        "1\n",
        "\u0661",
        [],
        {},
        "9" * 5000,
    ],
)
def test_any_other_timestamp_is_bad(timestamp):
    assert only(payload(message(timestamp=timestamp))) == Rejection("bad timestamp")


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({"text": {"body": ""}}, ""),
        ({"text": {"body": "a\u0000b\ud800c😀"}}, "a\ufffdb\ufffdc😀"),
        ({"text": {}}, None),
        ({"text": None}, None),
        *(
            ({"type": kind, kind: {"caption": "Una foto"}}, "Una foto")
            for kind in ("image", "video", "document", "audio", "voice", "sticker")
        ),
        ({"type": "button", "button": {"text": "Sì"}}, "Sì"),
        (
            {"type": "interactive", "interactive": {"type": "button_reply", "button_reply": {"title": "Sì"}}},
            "Sì",
        ),
        ({"type": "interactive", "interactive": {"list_reply": {"title": "Alle 10"}}}, "Alle 10"),
        ({"type": "edit", "edit": {"message": {"type": "text", "text": {"body": "Corretto"}}}}, "Corretto"),
        ({"type": "edit", "edit": {}}, None),
        ({"type": "something_new", "something_new": {"body": "?"}}, None),
        ({"type": "text", "image": {"caption": "of another kind"}, "text": {}}, None),
    ],
)
def test_the_body_is_what_the_person_wrote_or_chose(fields, body):
    assert read(message(**fields)).body == body


def test_every_kind_is_kept_and_a_missing_one_is_unknown():
    assert read(message(type="something_new")).kind == "something_new"
    assert read(message(type=None)).kind == "unknown"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"id": None}, "no message id"),
        ({"id": ""}, "no message id"),
        ({"id": 7}, "bad id"),
        ({"id": "w" * 256}, "bad id"),
        ({"from": "39\u0000"}, "bad from"),
        ({"from": "\udc00"}, "bad from"),
        ({"from": 393330000001}, "bad from"),
        ({"from": "3" * 256}, "bad from"),
        ({"type": ["text"]}, "bad type"),
        ({"text": "Ciao"}, "bad text"),
        ({"text": {"body": ["Ciao"]}}, "bad body"),
        ({"type": "edit", "edit": {"message": {"type": {}}}}, "bad type"),
        ({"group_id": "Y2FwaV9ncm91cDox"}, "group message"),
        ({"group_id": 1}, "bad group_id"),
    ],
)
def test_a_message_of_another_shape_is_rejected(fields, reason):
    assert repr(only(payload(message(**fields)))) == repr(Rejection(reason, ACCOUNT))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"entry": NaN}', "not JSON"),
        (b'{"entry": "\xff"}', "not JSON"),
        (b'{"entry": "\x00"}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"9" * 5000, "not JSON"),
        ('{"entry": []}'.encode("utf-16"), "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no list of entry"),
        (b'{"entry": {}}', "no list of entry"),
        (b'{"entry": [1]}', "not an object in entry"),
        (b'{"entry": [{}]}', "no list of changes"),
        (b'{"entry": [{"changes": [null]}]}', "not an object in changes"),
        (b'{"entry": [{"changes": [{"field": 1}]}]}', "no field in a change"),
        (b'{"entry": [{"changes": [{"field": "messages"}]}]}', "no value in a change"),
        (payload(messages={}), "no list of messages"),
        (payload(messages=["Ciao"]), "not an object in messages"),
        (payload(messages=None, statuses={}), "no list of statuses"),
        (payload(message(), metadata=None), "no phone_number_id"),
        (payload(message(), metadata={"phone_number_id": 1}), "bad phone_number_id"),
        (payload(messages=None, statuses=[1]), "not an object in statuses"),
        (payload(messages=None, contacts=[{"wa_id": "A"}]), "contacts without messages"),
        (payload(messages=None, message_echoes=[message()]), "unexpected part of a change"),
        (payload(messages=None, threads={"a": 1}), "unexpected part of a change"),
        (change("history", {}), "field not read"),
        (change("something_new", None), "field not read"),
        (change("account_update", {"messages": [1]}), "unexpected messages"),
        (change("account_update", [{"a": [{"message_echoes": {"b": 1}}]}]), "unexpected messages"),
        (b'{"entry": [], "messages": [1]}', "unexpected part of a payload"),
        (b'{"entry": [{"changes": [], "messaging": [1]}]}', "unexpected part of a payload"),
    ],
)
def test_an_unknown_payload_is_rejected(raw, reason):
    assert parse(raw) == [Rejection(reason)]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"entry": []}',
        b'{"entry": [{"changes": []}]}',
        b'{"entry": [{"changes": [{"field": "account_update"}]}]}',
        payload(),
        payload(messages=None),
        payload(messages=None, statuses=[{"status": "read"}]),
        payload(messages=None, errors=[{"code": 1}]),
        change("account_update", {"messages": [], "event": "VERIFIED_ACCOUNT"}),
        change("standby", {"standby": {}}),
        change("smb_message_echoes", {"statuses": [{"status": "read"}]}),
        change("standby", {"standby": {"statuses": [{"status": "read"}]}}),
    ],
)
def test_changes_that_are_not_messages_are_ignored(raw):
    assert parse(raw) == [Ignored()]


def test_every_status_is_ignored_by_itself_beside_the_messages():
    items = parse(payload(message(), statuses=[{"status": "sent"}, {"status": "read"}]))
    assert [type(item) for item in items] == [Ignored, Ignored, IncomingMessage]


def test_an_unknown_part_of_a_change_is_kept_beside_what_is_read():
    whole = json.loads(payload(message()))
    whole["entry"][0]["changes"][0]["more"] = [1]
    unknown, known = parse(json.dumps(whole).encode())
    assert unknown == Rejection("unexpected part of a change")
    assert isinstance(known, IncomingMessage)


def test_a_change_without_a_field_is_read_as_messages():
    whole = json.loads(payload(message()))
    del whole["entry"][0]["changes"][0]["field"]
    assert isinstance(only(json.dumps(whole).encode()), IncomingMessage)


def test_a_byte_order_mark_is_no_obstacle():
    assert isinstance(only(b"\xef\xbb\xbf" + payload(message())), IncomingMessage)


@given(st.binary())
def test_any_bytes_are_read_as_something(raw):
    assert parse(raw)


@given(json_values)
def test_any_json_is_read_as_something(value):
    assert parse(json.dumps(value).encode())


@given(
    st.sampled_from(["messages", "standby", "smb_message_echoes", "history", "account_update"]), json_values
)
def test_any_value_of_a_field_is_read_as_something(field, value):
    assert parse(change(field, value))


@given(
    st.sampled_from(["messages", "standby", "smb_message_echoes"]),
    st.dictionaries(
        st.sampled_from(
            [*message(), "to", "to_user_id", "group_id", "from_user_id", "image", "system", "message"]
        ),
        json_values,
    ),
)
def test_any_message_is_stored_or_rejected(field, fields):
    value = {"metadata": {"phone_number_id": ACCOUNT}, "messages": [{**message(), **fields}]}
    assert isinstance(only(change(field, value)), IncomingMessage | Rejection)
