"""The badge's flag on, the database at a revision without links: pages work, every badge is Unlinked."""

import json

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from flask_migrate import downgrade

from console import create_app
from console.config import Settings
from console.database import db
from testkit.databases import SQLITE, as_owner, downgrading
from testkit.factories import desk, run
from testkit.pages import Browser
from tests.conversations.conftest import subjects


@pytest.mark.shows("CM-2.1.4", "Review.Everywhere.4")
@downgrading
@pytest.mark.parametrize("revision", ["0001_inbox", "0002_customers"])
def test_pages_work_without_links_and_every_badge_is_unlinked(
    settings: Settings,
    app: Flask,
    cli: FlaskCliRunner,
    client: Browser,
    engine: str,
    revision: str,
    capfd: pytest.CaptureFixture[str],
):
    anna = desk(cli)
    conversation_id = anna.conversation("393331234567")
    client.sign_in(anna.operator.email, anna.operator.password)
    assert app.config["CONSOLE"].customer_badge
    for bound in db.engines.values():
        bound.dispose()
    with create_app(as_owner(settings)).app_context():
        downgrade(revision=revision)
    capfd.readouterr()
    for path in ("/conversations?plain", f"/conversations/{conversation_id}?plain"):
        (badge,) = client.get_page(path).select(".badge")
        assert badge["data-state"] == "unlinked"
    for path in ("/conversations", f"/conversations/{conversation_id}", "/conversations?q=393"):
        assert "393331234567" in client.get_page(path).text.replace(" ", "")
    answer = client.http.get(f"/badges?id={conversation_id}")
    assert (answer.status_code, answer.text.count('data-state="unlinked"')) == (200, 1)
    logged = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    kinds = {line["kind"] for line in logged if line["event"] == "link_not_read"}
    assert kinds == {"OperationalError" if engine == SQLITE else "UndefinedColumn"}
    basis = json.loads(run(cli, "badge", str(conversation_id)))
    assert basis == {
        "state": "unlinked",
        "resolution": "none",
        "reason": "lookup_failed",
        "customer_id": None,
    }
    assert {subject.link_known for subject in subjects(anna, conversation_id)} == {False}
    assert anna.conversation("393331234567", text="Still there?") == conversation_id
    for path in ("/links", f"/links/{conversation_id}"):
        client.get_page(path, 503)
