"""The webhook under what a caller may do to it: a flood in one payload, and the same again and again."""

from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from console.config import Settings
from console.ingestion.routes import MAX_PAYLOAD_BYTES
from testkit.databases import rows
from testkit.pages import Client
from testkit.statements import statements, without_control
from tests.ingestion.conftest import add_accounts
from tests.ingestion.payloads import message, payload
from tests.ingestion.test_webhook import SECRET, URL, sign

MANY = 10_000
STORED = "SELECT count(*), count(DISTINCT conversation_id), count(DISTINCT external_id) FROM messages"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Configure the webhook."""
    return replace(settings, whatsapp_app_secret=SECRET)


@pytest.fixture
def whatsapp(app: Flask, cli: FlaskCliRunner) -> Client:
    """Return WhatsApp, with accounts to write to."""
    add_accounts(cli)
    return Client(app, app.response_class)


def flood(count: int) -> bytes:
    """Return a payload of messages, each of another sender."""
    return payload(*(message(f"wamid.{number}", str(390_000_000_000 + number)) for number in range(count)))


def statements_for(whatsapp: Client, raw: bytes) -> list[str]:
    """Send a payload, and return the statements that it took."""
    with statements() as seen:
        assert whatsapp.post(URL, data=raw, headers=sign(raw)).status_code == 200
    return without_control(seen)


def test_ten_thousand_messages_in_one_payload_are_stored_in_as_many_statements_as_ten(whatsapp: Client):
    few, many = flood(10), flood(MANY)
    assert len(many) < MAX_PAYLOAD_BYTES
    of_few = statements_for(whatsapp, few)
    of_many = statements_for(whatsapp, many)
    assert rows(STORED) == [(MANY, MANY, MANY)]
    assert len(of_many) == len(of_few), of_many


def test_a_payload_that_is_sent_many_times_is_stored_once(whatsapp: Client):
    raw = flood(100)
    for _ in range(3):
        whatsapp.post(URL, data=raw, headers=sign(raw))
    before = rows("SELECT * FROM messages ORDER BY id"), rows("SELECT * FROM conversations ORDER BY id")
    for part in (raw, payload(message("wamid.7", "390000000007")), payload(message("wamid.7", "393"))):
        assert whatsapp.post(URL, data=part, headers=sign(part)).status_code == 200
    assert (
        rows("SELECT * FROM messages ORDER BY id"),
        rows("SELECT * FROM conversations ORDER BY id"),
    ) == before
    assert rows("SELECT count(*) FROM rejected_payloads") == [(0,)]
