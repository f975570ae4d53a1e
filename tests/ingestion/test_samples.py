"""One payload of every sort that WhatsApp sends, and where each lands."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskCliRunner
from flask_migrate import upgrade
from sqlalchemy import URL

from console import create_app
from console.ingestion.service import Counts, ingest_payload, retry_rejected
from console.ingestion.whatsapp import IGNORED_FIELDS
from testkit.databases import as_owner, settings_for
from testkit.factories import run
from tests.ingestion.conftest import add_accounts
from tests.ingestion.payloads import SAMPLES, SENDER, everything, messages, rejected

LINES = SAMPLES.read_bytes().splitlines()


Stored = list[tuple[str | None, ...]]


def sent(*stored: tuple[str, ...], sender: str = SENDER, to: str = "Anna") -> Stored:
    """Return what is expected of messages from one customer to one instructor: kind, and body if any."""
    return [(to, sender, "inbound", message[0], message[1] if message[1:] else None) for message in stored]


def answered(*stored: tuple[str, ...], to: str) -> Stored:
    """Return what is expected of messages that Anna wrote to one customer: kind, and body if any."""
    return [("Anna", to, "outbound", message[0], message[1] if message[1:] else None) for message in stored]


# What each sample is, and what becomes of it: its line, the messages that are stored, how many items are
# ignored, and why the payload is kept, if it is. Messages of the kind `system` are WhatsApp's own statements.
EXPECTED = {
    "text": (1, sent(("text", "Buongiorno, c'è posto per la lezione di sabato?")), 0, ""),
    "image with caption": (2, sent(("image", "La mia tavola")), 0, ""),
    "audio": (3, sent(("audio",)), 0, ""),
    "voice": (4, sent(("audio",)), 0, ""),
    "video": (5, sent(("video", "La curva di ieri")), 0, ""),
    "document": (6, sent(("document", "Il certificato medico")), 0, ""),
    "sticker": (7, sent(("sticker",)), 0, ""),
    "location": (8, sent(("location",)), 0, ""),
    "contacts": (9, sent(("contacts",)), 0, ""),
    "reaction": (10, sent(("reaction",)), 0, ""),
    "template button": (11, sent(("button", "Confermo")), 0, ""),
    "button reply": (12, sent(("interactive", "Sì, vengo")), 0, ""),
    "list reply": (13, sent(("interactive", "Sabato alle 10")), 0, ""),
    "flow reply": (14, sent(("interactive",)), 0, ""),
    "order": (15, sent(("order",)), 0, ""),
    "unsupported": (16, sent(("unsupported",)), 0, ""),
    "number changed": (
        17,
        sent(("system", "User Giulia Esempio changed from 393330000001 to 393330000003")),
        0,
        "",
    ),
    "text edited": (18, sent(("edit", "Buongiorno, c'è posto domenica?")), 0, ""),
    "caption edited": (19, sent(("edit", "La mia tavola nuova")), 0, ""),
    "deleted": (20, sent(("revoke",)), 0, ""),
    "status sent": (21, [], 1, ""),
    "statuses delivered and read": (22, [], 2, ""),
    "status failed": (23, [], 1, ""),
    "group message": (24, [], 0, "group message"),
    "phone and user id": (25, sent(("text", "Numero e nome utente"), sender="393330000005"), 0, ""),
    "user id only": (26, sent(("text", "Solo nome utente"), sender="IT.1000000000000000006"), 0, ""),
    "user id in from": (
        27,
        sent(("text", "Nome utente come mittente"), sender="IT.1000000000000000007"),
        0,
        "",
    ),
    "number in the contact only": (
        28,
        sent(("text", "Il numero è nel contatto"), sender="393330000008"),
        0,
        "",
    ),
    "no identifier": (29, [], 0, "no identifier"),
    "several senders": (
        30,
        [
            *sent(("text", "First"), sender="12025550109"),
            *sent(("text", "Seconda"), sender="393330000010"),
            *sent(("text", "Terza"), sender="IT.1000000000000000011"),
            *sent(("text", "Fourth"), sender="12025550109"),
        ],
        0,
        "",
    ),
    "several accounts and a status": (
        31,
        [
            *sent(("text", "Alla prima scuola"), sender="393330000012"),
            *sent(("text", "Alla seconda scuola"), sender="393330000012", to="Berta"),
        ],
        1,
        "",
    ),
    "good, bad and a status": (
        32,
        sent(("text", "Questo si può tenere"), sender="393330000013"),
        1,
        "group message",
    ),
    "account update": (33, [], 1, ""),
    "template status": (34, [], 1, ""),
    "echo of an own message": (35, answered(("text", "A sabato"), to=SENDER), 0, ""),
    "error notice": (36, [], 1, ""),
    "from an advertisement": (37, sent(("text", "Ho visto l'annuncio"), sender="393330000014"), 0, ""),
    "user id changed, without the previous one": (38, [], 0, "no identifier"),
    "unknown account": (39, [], 0, "unknown account"),
    # Echoes: what the instructor wrote from the phone, or from another program.
    "echo among messages": (40, answered(("text", "Ci vediamo sabato"), to="447700900101"), 0, ""),
    "echo, both numbers written with separators": (
        41,
        answered(("text", "Numero scritto"), to="447700900102"),
        0,
        "",
    ),
    "echo to a user id": (
        42,
        answered(("text", "A chi ha solo il nome utente"), to="GB.1000000000000000103"),
        0,
        "",
    ),
    "echo without a recipient": (43, [], 0, "no recipient"),
    "phone echo": (44, answered(("text", "Dal telefono"), to="447700900104"), 0, ""),
    "phone echo to a user id": (
        45,
        answered(("text", "A un nome utente"), to="GB.1000000000000000105"),
        0,
        "",
    ),
    "phone echo without a recipient": (46, [], 0, "no recipient"),
    "phone echo of an image": (47, answered(("image", "Il punto di ritrovo"), to="447700900104"), 0, ""),
    "phone echo of a deletion": (48, answered(("revoke",), to="447700900104"), 0, ""),
    "phone echo of an edit": (49, answered(("edit", "Dal telefono, corretto"), to="447700900104"), 0, ""),
    "phone echo from another number": (
        50,
        answered(("text", "Da un altro numero del conto"), to="447700900104"),
        0,
        "",
    ),
    # Standby: what is said while an automatic agent answers.
    "standby": (51, sent(("text", "Scrivo all'assistente"), sender="447700900106"), 0, ""),
    "standby echo": (52, answered(("text", "Risponde l'assistente"), to="447700900106"), 0, ""),
    "standby echo of a template": (53, answered(("template",), to="447700900106"), 0, ""),
    "standby echo to a user id": (
        54,
        answered(("text", "L'assistente a un nome utente"), to="GB.1000000000000000107"),
        0,
        "",
    ),
    "standby echo without a recipient": (55, [], 0, "no recipient"),
    "standby echo to a group": (56, [], 0, "group message"),
    "standby status": (57, [], 1, ""),
    "standby with nothing in it": (58, [], 1, ""),
    "standby, not nested": (59, sent(("text", "In attesa, senza involucro"), sender="447700900108"), 0, ""),
    "standby echo, not nested": (
        60,
        answered(("text", "Risposta, senza involucro"), to="447700900108"),
        0,
        "",
    ),
    # System messages: in the conversation of the identifier that WhatsApp speaks of, never the new one.
    "number and user id changed": (
        61,
        sent(
            ("system", "User Rosa Example changed from 447700900109 to 447700900110"), sender="447700900109"
        ),
        0,
        "",
    ),
    "user id changed": (
        62,
        sent(
            (
                "system",
                "User Rosa Example changed from GB.1000000000000000111 to GB.1000000000000000112",
            ),
            sender="GB.1000000000000000111",
        ),
        0,
        "",
    ),
    "security code changed": (
        63,
        sent(("system", "Rosa Example's security code changed"), sender="447700900113"),
        0,
        "",
    ),
    "number changed, only the new one named": (64, [], 0, "no identifier"),
    "number changed, from the new one": (
        65,
        sent(("system", "User Rosa Example changed their number"), sender="GB.1000000000000000116"),
        0,
        "",
    ),
    "number changed, in standby": (
        66,
        sent(
            ("system", "User Rosa Example changed from 447700900106 to 447700900117"), sender="447700900106"
        ),
        0,
        "",
    ),
    # Usernames and business-scoped user ids.
    "user id and username": (67, sent(("text", "Con nome utente"), sender="GB.1000000000000000118"), 0, ""),
    "user id, number in the contact": (
        68,
        sent(("text", "Numero nascosto, contatto noto"), sender="447700900119"),
        0,
        "",
    ),
    "user id of an enterprise": (
        69,
        sent(("text", "Identificativo aziendale"), sender="GB.ENT.1000000000000000120"),
        0,
        "",
    ),
    # Other messages.
    "reply": (70, sent(("text", "In risposta"), sender="447700900121"), 0, ""),
    "forwarded": (71, sent(("text", "Inoltrato"), sender="447700900121"), 0, ""),
    "about a product": (72, sent(("text", "Di quale tavola parla?"), sender="447700900121"), 0, ""),
    "reaction taken back": (73, sent(("reaction",), sender="447700900121"), 0, ""),
    "reply to a request to call": (74, sent(("interactive",), sender="447700900121"), 0, ""),
    "chat opened": (75, sent(("request_welcome",), sender="447700900121"), 0, ""),
    "a type that is new": (76, sent(("poll",), sender="447700900121"), 0, ""),
    "no type": (77, sent(("unknown",), sender="447700900121"), 0, ""),
    "with a summary of what was said before": (
        78,
        sent(("text", "Dopo il passaggio"), sender="447700900122"),
        0,
        "unexpected part of a change",
    ),
    "click on a link": (79, [], 0, "unexpected part of a change"),
    "contacts alone": (80, [], 0, "contacts without messages"),
    "echoes in the wrong field": (81, [], 0, "unexpected part of a change"),
    # Fields that are kept whole.
    "history": (82, [], 0, "field not read"),
    "history declined": (83, [], 0, "field not read"),
    "address book": (84, [], 0, "field not read"),
    "handover": (85, [], 0, "field not read"),
    "preferences": (86, [], 0, "field not read"),
    "user id updated": (87, [], 0, "field not read"),
    "call": (88, [], 0, "field not read"),
    "lead detected": (89, [], 0, "field not read"),
    "group joined": (90, [], 0, "field not read"),
    "a field that is new": (91, [], 0, "field not read"),
    # Fields that are ignored; whatsapp.py gives the reason for each.
    "account alert": (92, [], 1, ""),
    "account review": (93, [], 1, ""),
    "account settings": (94, [], 1, ""),
    "account violation": (95, [], 1, ""),
    "capability": (96, [], 1, ""),
    "flow status": (97, [], 1, ""),
    "template text": (98, [], 1, ""),
    "template quality": (99, [], 1, ""),
    "partner solution": (100, [], 1, ""),
    "payment configuration": (101, [], 1, ""),
    "number's name": (102, [], 1, ""),
    "number's quality": (103, [], 1, ""),
    "number's PIN": (104, [], 1, ""),
    "template category": (105, [], 1, ""),
    "messages in an ignored field": (106, [], 0, "unexpected messages"),
    # What is addressed to other products, or to no known account.
    "Messenger": (107, [], 0, "no list of changes; unexpected part of a payload"),
    "Messenger in standby": (108, [], 0, "unexpected part of a payload"),
    "no number of the account": (109, sent(("text", "Senza marca del conto"), sender="447700900132"), 0, ""),
    "echo of an unknown account": (110, [], 0, "unknown account"),
    # In the reference since August 2026.
    "product from the catalogue": (111, sent(("interactive",), sender="447700900133"), 0, ""),
    "user id changed, with those of the parent account": (
        112,
        sent(
            (
                "system",
                "User Rosa Example changed from GB.1000000000000000134 to GB.1000000000000000135",
            ),
            sender="GB.1000000000000000134",
        ),
        0,
        "",
    ),
}


@pytest.mark.shows("CM-2.2.4", "CM-2.2.6", "CM-2.2.7", "CM-2.2.8", "CM-2.2.9")
@pytest.mark.usefixtures("accounts")
@pytest.mark.parametrize(("line", "stored", "ignored", "reason"), EXPECTED.values(), ids=EXPECTED.keys())
def test_a_sample_lands_where_it_should(line, stored, ignored, reason):
    raw = LINES[line - 1]
    counts = ingest_payload(raw)
    landed = [
        (owner, identifier, direction, kind, body)
        for owner, identifier, _, _, kind, body, _, direction in messages()
    ]
    assert landed == stored
    assert rejected() == ([(reason, raw.decode())] if reason else [])
    reasons = tuple(reason.split("; ")) if reason else ()
    assert counts == Counts(len(stored), 0, ignored, len(reasons), reasons)


def test_every_sample_is_expected_somewhere():
    assert [line for line, *_ in EXPECTED.values()] == list(range(1, len(LINES) + 1))


def test_every_ignored_field_has_a_sample():
    fields = {
        change["field"]
        for line, _, ignored, _ in EXPECTED.values()
        if ignored
        for entry in json.loads(LINES[line - 1])["entry"]
        for change in entry["changes"]
    }
    assert fields - {"messages", "standby"} == IGNORED_FIELDS


@pytest.mark.shows("T1.4", "CM-2.2.1", "Review.Everywhere.2", "Review.Everywhere.4")
def test_nothing_depends_on_customer_memory_being_migrated_or_switched_on(
    new_database: Callable[[], Path | URL],
):
    landed = [
        ingest_all(new_database(), revision, badge)
        for revision in ("0001_inbox", "head")
        for badge in (False, True)
    ]
    assert landed[0][1]
    assert all(row == landed[0] for row in landed)


def ingest_all(where: Path | URL, revision: str, badge: bool) -> tuple[list[tuple[object, ...]], ...]:
    """Ingest every sample twice, and what was rejected again; return all that was stored."""
    settings = settings_for(where, customer_badge=badge)
    owner = create_app(as_owner(settings))
    with owner.app_context():
        upgrade(revision=revision)
        if isinstance(where, URL):
            run(FlaskCliRunner(owner), "database", "roles", "--apply")
        add_accounts(FlaskCliRunner(owner))
    with create_app(settings).app_context():
        for raw in LINES * 2:
            ingest_payload(raw)
        assert list(retry_rejected())
        return everything()
