"""Everything that people enter goes once through a real server at level debug; no line and no metric has it.

What is looked for is looked for as it was typed, with other separators, and in every spelling that a program
gives it: percent-encoded, as JSON, as Python, in base64 and in hexadecimal.
"""

import base64
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import new as hmac
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from console.config import ROOT, Settings
from testkit.databases import POSTGRESQL, SQLITE, as_owner, environment, execute
from testkit.factories import Desk, desk, payload, user
from tests.serving.server import SECONDS, Console, Visitor, serve

TYPED = {
    "number": "393339876543",
    "another number": "447700900461",
    "a number as it is written": "+39 348 555 01 23",
    "scoped id": "US.13491208655302741918",
    "message": "the Zanzibar letter, Zoë",
    "profile name": "Xanthippe Quill",
    "reason": "swears it’s her brother’s phone",
    "other reason": "rang from Timbuktu",
    "e-mail": "wilhelmina.x@example.org",
    "wrong password": "not-the-password-at-all",
    "unknown path": "Ouagadougou",
    "header": "Antananarivo",
    "garbage": "Samarkand{",
    "app secret": "kept-between-us-and-them",
    "verify token": "only-once-at-set-up",
    "metrics token": "prometheus-alone-knows",
}


@dataclass(frozen=True)
class Scene:
    """A console at level debug, and what was entered into it."""

    console: Console
    anna: Desk
    settings: Settings
    typed: dict[str, str]

    def told(self) -> str:
        """Return what the server wrote."""
        return self.console.log.read_text()

    def command(self, *arguments: str, stdin: str = "", environ: Mapping[str, str] = {}) -> str:
        """Run a command of the console and return what it wrote on stderr."""
        owner = as_owner(self.settings)
        done = subprocess.run(
            [sys.executable, "-m", "flask", *arguments],
            cwd=ROOT,
            env={**os.environ, **environment(owner), "CONSOLE_LOG_LEVEL": "debug", **environ},
            input=stdin.encode(),
            capture_output=True,
            check=False,
        )
        return done.stderr.decode()


@pytest.fixture
def scene(settings: Settings, app: Flask, cli: FlaskCliRunner, tmp_path: Path) -> Iterator[Scene]:
    """Return a running console whose log is kept."""
    anna = desk(cli)
    extra = {
        "CONSOLE_LOG_LEVEL": "debug",
        "CONSOLE_CUSTOMER_BADGE": "true",
        "CONSOLE_WHATSAPP_APP_SECRET": TYPED["app secret"],
        "CONSOLE_WHATSAPP_VERIFY_TOKEN": TYPED["verify token"],
        "CONSOLE_METRICS_TOKEN": TYPED["metrics token"],
    }
    with serve(settings, tmp_path, extra=extra, options=("--log-level", "debug")) as console:
        yield Scene(console, anna, settings, {**TYPED, "password": anna.operator.password})


def spellings(value: str) -> Iterator[str]:
    """Give a text in every way in which a program may have written it."""
    encoded = value.encode()
    yield from (value, value.lower(), value.title(), quote(value), quote_plus(value), quote(value, safe=""))
    yield from (json.dumps(value)[1:-1], repr(encoded)[2:-1], encoded.hex(), repr(value)[1:-1])
    for offset in range(3):
        # What stands before it shifts base64; the first and last digits hold bits of the neighbours.
        for written in (base64.b64encode, base64.urlsafe_b64encode):
            digits = written(b"\0" * offset + encoded).decode().rstrip("=")
            yield digits[4 if offset else 0 : -1]


def found(value: str, text: str) -> bool:
    """Say whether a text is in another, in any spelling; numbers with any separators too."""
    digits = re.sub(r"\D", "", value)
    is_number = re.fullmatch(r"[+0-9 ]{8,}", value)
    separated = is_number and re.search(r"[^0-9A-Za-z]{0,3}".join(digits), text)
    return bool(separated) or any(item in text for item in spellings(value))


@pytest.mark.parametrize("name", TYPED)
def test_the_search_finds_what_is_there_however_it_is_written(name: str):
    value = TYPED[name]
    for written in (
        value,
        f"q={quote(value)}",
        json.dumps({"a": value}),
        repr(value.encode()),
        value.encode().hex(),
    ):
        assert found(value, f"before {written} after"), written
    for before in ("", "a", "ab", "abc"):
        assert found(value, base64.b64encode(f"{before}{value}{before}".encode()).decode())
    assert not found(value, "a line without it, 2026-11-24T08:16:52.459495Z")
    if value.isdecimal():
        assert found(value, f"+{value[:2]} ({value[2:5]}) {value[5:8]}-{value[8:]}")


def sent(scene: Scene, visitor: Visitor, raw: str, **headers: str) -> int:
    """Let WhatsApp deliver a payload; return the answer's status."""
    body = raw.encode()
    signature = hmac(scene.typed["app secret"].encode(), body, sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={signature}", **headers}
    return visitor.post("/webhooks/whatsapp", body, headers=headers).status_code


def spoken(port: int, raw: str) -> str:
    """Send bytes that are no proper request and return what comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        connection.sendall(raw.encode("latin-1", "replace"))
        return connection.recv(65536).decode("latin-1")


def deliver(scene: Scene, visitor: Visitor) -> None:
    """Let messages come: proper ones, and what is rejected for every kind of reason."""
    typed, account = scene.typed, scene.anna.phone_number_id
    proper = payload(account, typed["number"], text=typed["message"])
    assert sent(scene, visitor, proper) == 200
    assert sent(scene, visitor, proper) == 200
    named = json.loads(payload(account, typed["scoped id"], text=typed["message"]))
    named["entry"][0]["changes"][0]["value"]["contacts"] = [{"profile": {"name": typed["profile name"]}}]
    assert sent(scene, visitor, json.dumps(named)) == 200
    assert sent(scene, visitor, payload("no one's", typed["number"], text=typed["message"])) == 200
    assert sent(scene, visitor, typed["garbage"] + typed["message"]) == 200
    assert sent(scene, visitor, payload(account, typed["number"] + "\0", text=typed["message"])) == 200
    assert sent(scene, visitor, proper, **{"X-Hub-Signature-256": f"sha256={typed['header']}"}) == 403
    assert sent(scene, visitor, proper + " " * 3_200_000) == 413
    for token in (typed["verify token"], typed["wrong password"]):
        query = {"hub.mode": "subscribe", "hub.verify_token": token, "hub.challenge": typed["header"]}
        assert visitor.get("/webhooks/whatsapp", params=query).status_code in (200, 403)


def look_around(scene: Scene, visitor: Visitor, conversation_id: UUID) -> None:
    """Search, read, and mistake addresses."""
    typed = scene.typed
    headers = {
        "User-Agent": typed["header"],
        "Referer": f"{scene.console.url}/?q={quote(typed['number'])}",
        "X-Request-Id": typed["number"],
        "Accept-Language": typed["header"],
    }
    for path in (
        f"/conversations?q={quote(typed['number'])}",
        f"/conversations/rows?q={quote(typed['message'])}",
        f"/conversations?before={quote(typed['number'])}",
        f"/conversations?instructor={quote(typed['number'])}",
        f"/conversations/{conversation_id}",
        f"/conversations/{quote(typed['number'])}",
        f"/badges?id={conversation_id}",
        f"/badges?id={quote(typed['number'])}",
        f"/links?q={quote(typed['number'])}",
        f"/links/{conversation_id}/customers?q={quote(typed['number'])}",
        f"/{quote(typed['unknown path'])}?{quote(typed['message'])}",
        f"/static/{quote(typed['unknown path'])}",
    ):
        assert visitor.get(path, headers=headers).status_code < 500, path
    visitor.request("X" + typed["number"], "/healthz")
    visitor.get("/healthz", headers={"Host": typed["header"]})
    visitor.get("/conversations", headers={"Host": typed["header"]})


def break_in(scene: Scene) -> None:
    """Send what no client of HTTP would."""
    typed, port = scene.typed, scene.console.port
    number = typed["number"]
    for raw in (
        f"GET /conversations?q={typed['a number as it is written']} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        f"GET /{number} HTTP/{number}\r\n\r\n",
        f"{typed['unknown path'].lower()}({number}) / HTTP/1.1\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: localhost\r\nCookie {number}: x\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {number}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {number * 1000}\r\n\r\n",
        f"GET /{number * 1000} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        f"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{typed['message']}\r\n",
        f"GET / HTTP/1.1\r\nHost: localhost\r\nExpect: {number}\r\n\r\n",
    ):
        assert " 4" in spoken(port, raw)[:14] or " 5" in spoken(port, raw)[:14], raw[:80]


def enter(scene: Scene, visitor: Visitor) -> None:
    """Sign in, after trying as others."""
    typed, operator = scene.typed, scene.anna.operator
    disabled = user(scene.anna.cli, scene.anna.instructor_id, "operator", typed["e-mail"])
    scene.anna.cli.invoke(args=["user", "disable", disabled.email])
    for email, password in (
        (typed["e-mail"], disabled.password),
        (operator.email, typed["wrong password"]),
        (typed["number"], typed["message"]),
    ):
        assert visitor.sign_in(email, password).status_code < 500
    assert (
        visitor.post("/login", {"email": typed["e-mail"], "csrf_token": typed["message"]}).status_code < 500
    )
    assert visitor.sign_in(operator.email, operator.password).status_code == 303


def change_links(scene: Scene, visitor: Visitor, conversation_id: UUID) -> UUID:
    """Link, relink and unlink, with every kind of refusal; return a customer."""
    typed, path = scene.typed, f"/links/{conversation_id}"
    other = scene.anna.customer(typed["another number"])
    made = {"create": "1", "customer_id": "", "reason": typed["reason"]}
    assert visitor.submit(path, path, **made).status_code == 303
    relink = {"customer_id": str(other), "reason": typed["other reason"]}
    assert visitor.submit(path, path, **relink).status_code == 409
    assert visitor.submit(path, path, **relink, seen_version="0").status_code == 409
    assert visitor.submit(path, path, **relink, overwrite="1").status_code == 303
    for bad in (
        {"reason": "", "customer_id": typed["number"]},
        {"reason": typed["reason"], "seen_version": typed["number"]},
        {"reason": typed["reason"], "operation_id": typed["message"]},
        {"reason": typed["reason"] * 500, "customer_id": str(other)},
        {"reason": typed["reason"], "csrf_token": typed["message"]},
    ):
        assert 400 <= visitor.submit(path, path, **bad).status_code < 500
    undone = {"reason": typed["other reason"], "confirm": "1"}
    assert visitor.submit(path, f"{path}/unlink", **undone).status_code == 303
    return other


def fail(scene: Scene, visitor: Visitor, conversation_id: UUID, customer_id: UUID) -> None:
    """Let the database fail in ways whose messages quote what was entered."""
    typed, path = scene.typed, f"/links/{conversation_id}"
    made = {"customer_id": str(customer_id), "reason": typed["reason"]}
    message = payload(scene.anna.phone_number_id, typed["number"], text=typed["message"])
    bystander = scene.anna.conversation(typed["another number"])
    engine = scene.settings.database_url.get_backend_name()
    for breaking, status in _BREAKING[engine]:
        execute(*breaking)
        assert visitor.submit(path, path, **made).status_code == status
        assert sent(scene, visitor, message) == 503
        execute(*_MENDING[engine])
    for table in ("audit_events", "customers", "messages", "memberships", "users", "conversations"):
        execute(f"ALTER TABLE {table} RENAME TO away")
        if table == "audit_events":
            assert visitor.submit(path, path, **made).status_code == 303
        else:
            visitor.post(path, made)
        for page in (path, f"/conversations?q={typed['number']}", f"/badges?id={bystander}", "/readyz"):
            visitor.get(page)
        sent(scene, visitor, message)
        visitor.get("/metrics")
        execute(f"ALTER TABLE away RENAME TO {table}")


# Errors as a database words them: with what was to be stored in the message, in its detail, and not at all.
_SQLITE = (
    (
        """CREATE TRIGGER breaking BEFORE UPDATE ON conversations BEGIN
        SELECT json_extract('{}', 'no ' || new.customer_identifier); END""",
        """CREATE TRIGGER breaking_too BEFORE INSERT ON messages BEGIN
        SELECT json_extract('{}', 'no ' || new.body); END""",
    ),
    (
        "CREATE TRIGGER breaking BEFORE UPDATE ON conversations BEGIN SELECT RAISE(ABORT, 'no'); END",
        "CREATE TRIGGER breaking_too BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'no'); END",
    ),
)
_POSTGRESQL = tuple(
    (
        f"""CREATE FUNCTION breaking() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'no %', new USING ERRCODE = '{kind}', DETAIL = new::text, HINT = new::text; END $$""",
        "GRANT EXECUTE ON FUNCTION breaking TO PUBLIC",
        "CREATE TRIGGER breaking BEFORE UPDATE ON conversations FOR EACH ROW EXECUTE FUNCTION breaking()",
        "CREATE TRIGGER breaking BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION breaking()",
    )
    for kind in ("unique_violation", "invalid_text_representation")
)
_BREAKING = {
    SQLITE: tuple(zip(_SQLITE, (503, 500), strict=True)),
    POSTGRESQL: tuple(zip(_POSTGRESQL, (500, 500), strict=True)),
}
_MENDING = {
    SQLITE: ("DROP TRIGGER breaking", "DROP TRIGGER breaking_too"),
    POSTGRESQL: (
        "DROP TRIGGER breaking ON conversations",
        "DROP TRIGGER breaking ON messages",
        "DROP FUNCTION breaking()",
    ),
}


def commands(scene: Scene, tmp_path: Path) -> str:
    """Run what the console's administrator would, and return what all of it wrote on stderr."""
    typed, anna = scene.typed, scene.anna
    lines = [
        payload(anna.phone_number_id, typed["another number"], text=typed["message"]),
        payload("no one's", typed["number"], text=typed["message"]),
        typed["garbage"] + typed["number"],
        json.dumps({"entry": [{"changes": [{"value": {"messages": [typed["message"], {"from": 17}]}}]}]}),
    ]
    file = tmp_path / "payloads"
    file.write_text("\n".join(lines))
    told = [scene.command("ingest", str(file)), scene.command("ingest", "--rejected")]
    adding = ["--name", typed["profile name"], "--instructor", str(anna.instructor_id), "--role", "operator"]
    for email, password in (
        (f"other.{typed['e-mail']}", "a long password of this test"),
        ("no address", "x"),
    ):
        told.append(scene.command("user", "add", email, *adding, "--password-stdin", stdin=password))
    told.append(scene.command("instructor", "add", typed["profile name"]))
    told.append(scene.command("user", "disable", typed["e-mail"]))
    told.append(scene.command("audit", "verify"))
    execute("ALTER TABLE audit_events RENAME TO away")
    told += [
        scene.command("audit", "drain"),
        scene.command("audit", "export"),
        scene.command("audit", "verify"),
    ]
    execute("ALTER TABLE away RENAME TO audit_events")
    told.append(scene.command("audit", "drain"))
    return "\n".join(told)


def test_nothing_that_was_entered_is_in_a_line_or_a_metric(scene: Scene, tmp_path: Path):
    typed, conversation_id = scene.typed, scene.anna.conversation(TYPED["a number as it is written"])
    cookies: dict[str, Any] = {}
    with Visitor(scene.console.url) as visitor:
        deliver(scene, visitor)
        break_in(scene)
        enter(scene, visitor)
        look_around(scene, visitor, conversation_id)
        customer_id = change_links(scene, visitor, conversation_id)
        fail(scene, visitor, conversation_id, customer_id)
        cookies = {f"cookie {name}": value for name, value in visitor.session.cookies.items()}
        metrics = visitor.get("/metrics", headers={"Authorization": f"Bearer {typed['metrics token']}"}).text
        visitor.session.cookies.clear()
        answer = visitor.get("/conversations", headers={"Cookie": f"session={typed['garbage']}"})
        assert answer.status_code == 302
    told = scene.told() + commands(scene, tmp_path) + metrics

    events = {json.loads(line)["event"] for line in told.splitlines() if line.startswith("{")}
    expected = {"request", "request_failed", "database_unavailable", "payload_ingested", "payload_not_stored"}
    expected |= {"audit_move_failed", "resolution_lookup_failed", "outbox_not_counted"}
    assert expected <= events
    assert {event for event in events if event.startswith("Invalid request from ip")}
    assert "line 2: unknown account" in told
    assert cookies
    leaked = {name for name, value in {**typed, **cookies}.items() if found(value, told)}
    where = [line for line in told.splitlines() for name in leaked if found({**typed, **cookies}[name], line)]
    assert leaked == set(), where
