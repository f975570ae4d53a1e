"""The webhook: which payloads are accepted and acknowledged."""

import hashlib
import hmac
import json
import sqlite3
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from console import create_app
from console.config import sqlite_path
from console.database import engines
from testkit.databases import execute, on_postgresql, on_sqlite, rows
from tests.ingestion.payloads import SAMPLES, message, messages, payload, rejected

pytestmark = pytest.mark.usefixtures("accounts")

SECRET, TOKEN = "the app secret of the tests", "the verify token of the tests"
URL = "/webhooks/whatsapp"
PAYLOAD = payload(message())


@pytest.fixture
def settings(settings):
    """Configure the webhook."""
    return replace(settings, whatsapp_app_secret=SECRET, whatsapp_verify_token=TOKEN)


@pytest.fixture
def sender(app: Flask) -> FlaskClient:
    """Return WhatsApp."""
    return app.test_client()


def sign(raw: bytes, secret: str = SECRET) -> dict[str, str]:
    """Return the header that signs a payload."""
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()}


def test_a_signed_payload_is_stored_and_acknowledged_and_so_is_its_repetition(sender):
    for _ in range(2):
        assert sender.post(URL, data=PAYLOAD, headers=sign(PAYLOAD)).status_code == 200
    assert len(messages()) == 1


def test_the_signature_is_over_the_bytes_as_sent(sender):
    raw = b"  " + PAYLOAD.replace(b", ", b" ,\n") + b"\n"
    form = {**sign(raw), "Content-Type": "application/x-www-form-urlencoded"}
    assert sender.post(URL, data=raw, headers=form).status_code == 200
    assert len(messages()) == 1


@pytest.mark.shows("CM-2.2.21")
@pytest.mark.parametrize("headers", [{}, {"X-Hub-Signature-256": ""}, {"X-Hub-Signature": "sha1=0"}])
def test_an_unsigned_payload_is_refused(sender, headers):
    assert sender.post(URL, data=PAYLOAD, headers=headers).status_code == 401
    assert messages() == rejected() == []


@pytest.mark.shows("CM-2.2.21")
@pytest.mark.parametrize(
    "signature",
    [
        "sha256=" + "0" * 64,
        sign(PAYLOAD)["X-Hub-Signature-256"].removeprefix("sha256="),
        sign(PAYLOAD)["X-Hub-Signature-256"][:-1],
        sign(PAYLOAD, "another secret")["X-Hub-Signature-256"],
        sign(PAYLOAD + b" ")["X-Hub-Signature-256"],
        "sha256=\u00e8",
        "?",
    ],
)
def test_a_wrongly_signed_payload_is_refused(sender, signature):
    assert sender.post(URL, data=PAYLOAD, headers={"X-Hub-Signature-256": signature}).status_code == 403
    assert messages() == rejected() == []


@pytest.mark.parametrize("raw", [*SAMPLES.read_bytes().splitlines(), b"", b"{}", b"[]", b"\xff"])
def test_any_signed_payload_is_acknowledged(sender, raw):
    assert sender.post(URL, data=raw, headers=sign(raw)).status_code == 200


def test_a_payload_that_cannot_be_stored_is_kept_and_acknowledged(sender):
    raw = payload(message(), account="100000000000009")
    assert sender.post(URL, data=raw, headers=sign(raw)).status_code == 200
    assert rejected() == [("unknown account", raw.decode())]


def test_a_payload_over_3_mb_is_too_large(sender):
    limit = 3 * 1024 * 1024
    for raw, status in ((b" " * limit, 200), (b" " * (limit + 1), 413)):
        assert sender.post(URL, data=raw, headers=sign(raw)).status_code == status


@on_postgresql
def test_a_payload_that_the_server_refuses_is_not_acknowledged_and_is_stored_when_sent_again(sender, capsys):
    execute("REVOKE INSERT ON messages FROM console_ingest")
    assert sender.post(URL, data=PAYLOAD, headers=sign(PAYLOAD)).status_code == 503
    assert "payload_not_stored" in capsys.readouterr().err
    assert rows("SELECT count(*) FROM conversations") == [(0,)]
    execute("GRANT INSERT ON messages TO console_ingest")
    assert sender.post(URL, data=PAYLOAD, headers=sign(PAYLOAD)).status_code == 200
    assert len(messages()) == 1


@on_sqlite
def test_a_payload_that_the_database_refuses_is_not_acknowledged_and_is_stored_when_sent_again(
    settings, monkeypatch, capsys
):
    monkeypatch.setattr(engines, "SQLITE_BUSY_SECONDS", 0.05)
    app = create_app(settings)
    lock = sqlite3.connect(str(sqlite_path(settings.database_url)), isolation_level=None)
    try:
        lock.execute("BEGIN IMMEDIATE")
        assert app.test_client().post(URL, data=PAYLOAD, headers=sign(PAYLOAD)).status_code == 503
    finally:
        lock.close()
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (line,) = [line for line in logged if line["event"] == "payload_not_stored"]
    assert line["exceptions"][-1]["code"] == "SQLITE_BUSY"
    assert app.test_client().post(URL, data=PAYLOAD, headers=sign(PAYLOAD)).status_code == 200
    with app.app_context():
        assert len(messages()) == 1


def test_the_log_counts_and_quotes_nothing(sender, capsys):
    raw = payload(message(), message("wamid.2", group_id="Y2Fw"))
    sender.post(URL, data=raw, headers=sign(raw))
    log = capsys.readouterr().err
    (line,) = [line for line in map(json.loads, log.splitlines()) if line["event"] == "payload_ingested"]
    assert {name: line[name] for name in ("stored", "repeated", "ignored", "rejected", "reasons")} == {
        "stored": 1,
        "repeated": 0,
        "ignored": 0,
        "rejected": 1,
        "reasons": ["group message"],
    }
    assert not any(quoted in log for quoted in ("39333", "Ciao", "wamid"))


@pytest.mark.parametrize(
    ("query", "status", "answer"),
    [
        (
            {"hub.mode": "subscribe", "hub.verify_token": TOKEN, "hub.challenge": "<1158201444>"},
            200,
            "<1158201444>",
        ),
        ({"hub.mode": "subscribe", "hub.verify_token": "?", "hub.challenge": "1158201444"}, 403, None),
        ({"hub.mode": "subscribe", "hub.verify_token": "è", "hub.challenge": "1158201444"}, 403, None),
        ({"hub.mode": "other", "hub.verify_token": TOKEN, "hub.challenge": "1158201444"}, 403, None),
        ({}, 403, None),
    ],
)
def test_the_challenge_is_returned_for_the_verify_token(sender, query, status, answer):
    response = sender.get(URL, query_string=query)
    assert response.status_code == status
    assert response.mimetype == "text/plain"
    assert answer is None or response.text == answer


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_webhook_answers_404_without_its_secrets(settings, method):
    bare = replace(settings, whatsapp_app_secret=None, whatsapp_verify_token=None)
    query = {"hub.mode": "subscribe", "hub.verify_token": "", "hub.challenge": "1"}
    client = create_app(bare).test_client()
    assert client.open(URL, method=method, query_string=query, headers=sign(b"", "")).status_code == 404
