"""Statements of docs/security.md that no other test shows."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from werkzeug.datastructures import MultiDict

from console import create_app
from console.config import ROOT, Settings
from testkit.databases import as_owner, environment, execute, rows
from testkit.factories import PASSWORD, Desk, desk, trail, user
from testkit.pages import Browser, fields_of
from tests.security.visitors import World, world

SCRIPT = "".join(path.read_text() for path in sorted((ROOT / "static").glob("*.js")))


@pytest.fixture
def people(cli: FlaskCliRunner) -> World:
    """Return every kind of visitor."""
    return world(cli)


def test_the_sign_in_form_leaves_typing_to_the_browser(client: Browser):
    page = client.get_page("/login")
    (form,) = page.select("main form")
    kinds = {str(field["name"]): (field["type"], field.get("autocomplete")) for field in form.select("input")}
    assert kinds.pop("csrf_token")
    assert kinds == {
        "email": ("email", "username"),
        "password": ("password", "current-password"),
        "next": ("hidden", None),
    }
    assert all(
        str(script["src"]).startswith("/static/") and not script.text for script in page.select("script")
    )
    assert not re.search(r"\bon\w+=", str(page))


def test_signing_out_is_on_every_page_behind_the_sign_in(client: Browser, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    client.sign_in(anna.operator.email, anna.operator.password)
    for path in (
        "/conversations",
        f"/conversations/{conversation_id}",
        "/links",
        f"/links/{conversation_id}",
    ):
        (button,) = client.get_page(path).select('header form[action="/logout"] button[type=submit]')
        assert button.text.strip() == "Sign out"


def test_no_answer_opens_the_console_to_another_origin(app: Flask, people: World):
    operator = people.enter(app, "links it")
    asking = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    paths = ("/conversations", f"/links/{people.conversation_id}", "/login", "/healthz", "/nothing")
    for path in (*paths, "/static/console.css", "/webhooks/whatsapp"):
        for method in ("GET", "OPTIONS", "POST"):
            headers = operator.ask(method, path, headers=asking).headers
            assert [name for name, _ in headers if name.startswith("Access-Control")] == []


def test_a_password_is_kept_as_argon2id_and_has_no_date(client: Browser, settings: Settings, anna: Desk):
    email = "marta@example.org"
    arguments = ["user", "add", email, "--name", "Marta", "--instructor", str(anna.instructor_id)]
    subprocess.run(  # the suite's own hashes are cheap ones (conftest.py)
        [sys.executable, "-m", "flask", *arguments, "--role", "operator", "--password-stdin"],
        cwd=ROOT,
        env={**os.environ, **environment(as_owner(settings))},
        input=f"{PASSWORD}\n".encode(),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    ((kept,),) = rows(f"SELECT password_hash FROM users WHERE email = '{email}'")
    assert re.fullmatch(r"\$argon2id\$v=19\$m=65536,t=3,p=4\$[\w+/]{22}\$[\w+/]{43}", kept)
    execute(f"UPDATE users SET created_at = '2011-11-11 11:11:11+00:00' WHERE email = '{email}'")
    assert client.sign_in(email, PASSWORD).status_code == 303


def test_the_first_of_repeated_parameters_counts_and_a_repeated_field_is_refused(
    client: Browser, cli: FlaskCliRunner, anna: Desk
):
    other = desk(cli, "Bruno Pichler")
    conversation_id = anna.conversation("393331234567")
    client.sign_in(anna.operator.email, anna.operator.password)
    both = f"instructor={anna.instructor_id}&instructor={other.instructor_id}"
    assert client.get_page(f"/conversations?{both}")
    client.get_page(f"/conversations?{'&'.join(reversed(both.split('&')))}", 404)
    path = f"/links/{conversation_id}"
    fields = fields_of(client.get_page(path).select("main form[method=post]")[0])
    twice = MultiDict([*(fields | {"reason": "the first", "create": "1"}).items(), ("reason", "the second")])
    assert client.http.post(path, data=twice).status_code == 422
    assert trail() == []
    once = fields | {"reason": "the first", "create": "1"}
    assert client.http.post(f"{path}?reason=another", data=once).status_code == 303
    assert [event["reason"] for event in trail()] == ["the first"]


def test_signing_in_and_out_is_logged_in_utc_right_or_wrong(
    client: Browser, cli: FlaskCliRunner, anna: Desk, capfd: pytest.CaptureFixture[str]
):
    person = user(cli, anna.instructor_id)
    capfd.readouterr()
    for _ in range(6):
        client.sign_in(person.email, "not the password")
    client.sign_in(anna.operator.email, anna.operator.password)
    client.submit(client.get_page("/conversations"), "/logout")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    told = [line for line in lines if line["event"] != "request"]
    assert [line["event"] for line in told] == [
        *["sign_in_failed"] * 5,
        "sign_in_throttled",
        "signed_in",
        "signed_out",
    ]
    assert {line["user_id"] for line in told[6:]} == {str(anna.operator.id)}
    assert len({line["account"] for line in told[:6]}) == 1
    for line in lines:
        assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta(0)


def test_an_attempt_past_a_guard_is_logged_with_its_cause(
    settings: Settings, anna: Desk, capfd: pytest.CaptureFixture[str]
):
    app = create_app(replace(settings, whatsapp_app_secret="hush", whatsapp_verify_token="open"))
    client = Browser(app)
    client.sign_in(anna.operator.email, anna.operator.password)
    path = f"/links/{anna.conversation('393331234567')}"
    capfd.readouterr()
    attempts = [
        ("host", client.http.get("/conversations", headers={"Host": "evil.example"})),
        ("site", client.http.post(path, headers={"Origin": "https://evil.example"})),
        ("form token", client.http.post(path, data={"reason": "so it is"})),
        ("signature", client.http.post("/webhooks/whatsapp", data=b"{}")),
        ("signature", client.http.post("/webhooks/whatsapp", headers={"X-Hub-Signature-256": "sha256=0"})),
        ("verify token", client.http.get("/webhooks/whatsapp?hub.mode=subscribe&hub.verify_token=x")),
    ]
    assert {answer.status_code for _, answer in attempts} == {400, 401, 403}
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    refused = [(line["cause"], line["level"]) for line in told if line["event"] == "request_refused"]
    assert refused == [(cause, "warning") for cause, _ in attempts]


def test_the_script_keeps_settings_places_and_drafts_of_this_window_alone():
    kept = set(re.findall(r"\b(?:localStorage|sessionStorage)\.(\w+)", SCRIPT))
    assert kept == {"keys", "then", "queue", "row", "rows", "removeItem"}
    assert set(re.findall(r"\blocalStorage\b(.\w+)", SCRIPT)) == {".keys", ".then"}
    elsewhere = r"\bsessionStorage\b(?!\.|\[(?:draft|reason)Key\(\)\]|\[`newer )"
    assert not re.search(elsewhere + r"|document\.cookie|indexedDB|caches", SCRIPT)


def test_the_script_writes_text_as_text_and_no_property_by_a_name_from_outside():
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(", SCRIPT
    )
    own = re.sub(r"\bsessionStorage\[.*?\] = ", "", SCRIPT)
    assert not re.search(r"\]\s*=[^=]|Object\.assign|__proto__|\.\.\.\w+\s*}|postMessage|\"message\"", own)
