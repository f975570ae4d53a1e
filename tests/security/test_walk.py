"""The permission walk: every route × method × person × tenant, from the running app's URL map.

`pytest -s tests/security/test_walk.py` prints how many combinations were asked. What is expected follows from
the table in test_permissions.py, which is about Anna's conversation: for Bruno's, the two tenants change
places; for an id of nothing and for what is no id, every visitor is an outsider.
"""

import re
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from werkzeug.test import TestResponse

from console.config import Settings
from testkit.databases import rows
from testkit.factories import PASSWORD
from tests.security.test_permissions import EXPECTED, LAST, METHODS, read
from tests.security.visitors import VISITORS, Visitor, World, shut_out, token_of

MIN_COMBINATIONS = 3500
TENANTS = ("Anna's", "Bruno's", "no instructor's", "no id")
# Whose answer a visitor gets for Bruno's conversation: that of who stands to Anna as they do to Bruno.
MIRRORED = {
    "reads it": "reads another",
    "reads another": "reads it",
    "links it": "links another",
    "links another": "links it",
}
# Who reads one and links the other gets, for the other, what an operator gets.
OF_OTHERS = {
    "reads it": "reads another",
    "links it": "links another",
    "reads it, links another": "links another",
}
TOKEN = re.compile(r'(name="(?:csrf_token|operation_id)"\s+value=")[^"]*')
REFUSALS = (403, 404, 405)
RANDOM_HEADERS = ("X-Request-Id", "Set-Cookie")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Configure the webhook, so that it refuses, and keep the log out of what the command prints."""
    return replace(
        settings, log_level="critical", whatsapp_app_secret="a secret", whatsapp_verify_token="a token"
    )


def stand_in(name: str, tenant: str) -> str:
    """Return the person of the table whose status a visitor gets for a tenant's conversation."""
    if tenant == "Anna's":
        return name
    if tenant == "Bruno's":
        return "links it" if name == "reads it, links another" else MIRRORED.get(name, name)
    return OF_OTHERS.get(name, name)


def form_of(people: World, visitor: Visitor, rule: str) -> dict[str, object]:
    """Return a form with everything a change needs but its version, so that the walk changes nothing."""
    ends_the_session = rule in LAST and not visitor.token
    token = token_of(visitor.http.get("/login")) if ends_the_session else visitor.current_token()
    form: dict[str, object] = {"csrf_token": token}
    if rule == "/login":
        return {**form, "email": visitor.email, "password": PASSWORD}
    return {**form, **people.link_form(seen_version="0", confirm="1", create="")}


def refusal(answer: TestResponse) -> tuple[object, ...]:
    """Return a refusal without what is random in each answer: tokens, cookies and the request's id."""
    headers = sorted((name, value) for name, value in answer.headers if name not in RANDOM_HEADERS)
    return TOKEN.sub(r"\1", answer.text), tuple(headers)


def written() -> list[object]:
    """Return everything that a link or an unlink would change."""
    return [
        rows(f"SELECT * FROM {table} ORDER BY 1, 2")
        for table in ("customers", "conversations", "audit_events")
    ]


def test_every_route_method_person_and_tenant(app: Flask, cli: FlaskCliRunner, people: World, engine: str):
    table = read(EXPECTED)
    targets = {
        "Anna's": str(people.conversation_id),
        "Bruno's": str(people.others_conversation_id),
        "no instructor's": str(uuid4()),
        "no id": "no-id-at-all",
    }
    visitors = {name: people.enter(app, name) for name in VISITORS}
    shut_out(cli, people)
    before = written()
    walked: Counter[int] = Counter()
    refusals: dict[tuple[object, ...], set[tuple[object, ...]]] = defaultdict(set)
    wrong: list[str] = []
    rules = sorted({rule.rule for rule in app.url_map.iter_rules()}, key=lambda rule: (rule in LAST, rule))
    for rule in rules:
        for method in METHODS:
            for tenant, conversation in targets.items():
                path = rule.replace("<id:conversation_id>", conversation)
                path = path.replace("<path:filename>", "console.css")
                if rule == "/badges":
                    path += f"?id={conversation if tenant != 'no id' else uuid4()}"
                for name, visitor in visitors.items():
                    options = {"data": form_of(people, visitor, rule)} if method == "POST" else {}
                    answer: TestResponse = visitor.ask(method, path, **options)
                    walked[answer.status_code] += 1
                    if answer.status_code in REFUSALS and not rule.startswith("/webhooks"):
                        kind = (answer.status_code, answer.headers.get("Allow"), method == "HEAD")
                        refusals[kind].add(refusal(answer))
                    expected = table[rule, method][VISITORS.index(stand_in(name, tenant))]
                    allowed = {expected} if expected != 303 or rule in LAST else {303, 409, 422, 428}
                    if answer.status_code not in allowed:
                        wrong.append(f"{method} {path} by who {name}: {answer.status_code}, not {allowed}")
                    if stand_in(name, tenant) not in ("links it", "reads it", "reads it, links another"):
                        assert (
                            conversation not in answer.text
                            or "/login?next=" in answer.text
                            or (conversation == "no-id-at-all")
                        ), f"{method} {path} by who {name}"
    total = sum(walked.values())
    sys.stdout.write(f"\npermission walk on {engine}: {total} combinations, {dict(sorted(walked.items()))}\n")
    assert wrong == []
    assert written() == before
    assert total >= MIN_COMBINATIONS
    assert {kind: len(found) for kind, found in refusals.items()} == dict.fromkeys(refusals, 1)
