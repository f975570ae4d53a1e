"""One payload of every sort that WhatsApp sends, and where each lands."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskCliRunner
from flask_migrate import upgrade
from sqlalchemy import URL

from console import create_app
from console.ingestion.service import Counts, ingest_payload, retry_rejected
from tests.databases import as_owner, settings_for
from tests.factories import run
from tests.ingestion.conftest import add_accounts
from tests.ingestion.payloads import SAMPLES, SENDER, everything, messages, rejected

LINES = SAMPLES.read_bytes().splitlines()


def sent(*stored: tuple[str, ...], sender: str = SENDER, to: str = "Anna") -> list[tuple[str | None, ...]]:
    """Return what is expected of messages of one sender to one instructor: kind, and body if any."""
    return [(to, sender, one[0], one[1] if len(one) > 1 else None) for one in stored]


# What the sample is: the line, what is stored, how many things are ignored, and why it is rejected.
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
    "number changed": (17, sent(("system",)), 0, ""),
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
    "echo of an own message": (35, [], 1, ""),
    "error notice": (36, [], 1, ""),
    "from an advertisement": (37, sent(("text", "Ho visto l'annuncio"), sender="393330000014"), 0, ""),
    "user id changed": (38, [], 0, "no identifier"),
    "unknown account": (39, [], 0, "unknown account"),
}


@pytest.mark.usefixtures("accounts")
@pytest.mark.parametrize(("line", "stored", "ignored", "reason"), EXPECTED.values(), ids=EXPECTED.keys())
def test_a_sample_lands_where_it_should(line, stored, ignored, reason):
    raw = LINES[line - 1]
    counts = ingest_payload(raw)
    landed = [(to, sender, kind, body) for to, sender, _, _, kind, body, _ in messages()]
    assert landed == stored
    assert rejected() == ([(reason, raw.decode())] if reason else [])
    reasons = (reason,) if reason else ()
    assert counts == Counts(len(stored), 0, ignored, len(reasons), reasons)


def test_every_sample_is_expected_somewhere():
    assert [line for line, *_ in EXPECTED.values()] == list(range(1, len(LINES) + 1))


def test_nothing_depends_on_customer_memory_being_migrated_or_switched_on(
    new_database: Callable[[], Path | URL],
):
    landed = [
        ingest_all(new_database(), revision, badge)
        for revision in ("0001_inbox", "head")
        for badge in (False, True)
    ]
    assert landed[0][1]
    assert all(one == landed[0] for one in landed)


def ingest_all(where: Path | URL, revision: str, badge: bool) -> tuple[list[tuple[object, ...]], ...]:
    """Ingest every sample twice, and what was rejected again; return all that was stored."""
    settings = settings_for(where, customer_badge=badge)
    owner = create_app(as_owner(settings))
    with owner.app_context():
        upgrade(revision=revision)
        add_accounts(FlaskCliRunner(owner))
        if isinstance(where, URL):
            run(FlaskCliRunner(owner), "database", "roles", "--apply")
    with create_app(settings).app_context():
        for raw in LINES * 2:
            ingest_payload(raw)
        assert list(retry_rejected())
        return everything()
