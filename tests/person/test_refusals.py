"""When `flask person erase` erases nothing, and who may run it."""

import json
import os
from dataclasses import replace
from uuid import uuid4

import pytest
from flask.testing import FlaskCliRunner
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from console import create_app
from console.config import Settings
from console.database import append_only_lifted, db, owning
from testkit.databases import as_owner, execute, on_postgresql, rows
from testkit.factories import Desk, link_state, run
from tests.person.conftest import ERASE, NUMBER, OTHER, Person, count, lines


@pytest.mark.shows("CM-2.5.E4")
def test_another_identifiers_link_is_named_and_stops_it(anna: Desk, cli: FlaskCliRunner, person: Person):
    own, others = anna.conversation(NUMBER), anna.conversation(OTHER)
    anna.link(own)
    anna.link(others, link_state(own).customer_id)
    before = rows("SELECT * FROM conversations"), lines()
    refused = person("erase", NUMBER, *ERASE)
    assert refused.exit_code == 1
    assert str(others) in refused.stderr
    assert str(own) not in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert (rows("SELECT * FROM conversations"), lines()) == before
    anna.unlink(others)
    assert person("erase", NUMBER, *ERASE).exit_code == 0
    assert count("conversations") == 1
    run(cli, "audit", "verify")


def test_nothing_is_erased_without_a_yes(anna: Desk, person: Person):
    anna.link(anna.conversation(NUMBER))
    options = ("--reason", "asked by letter")
    for answer in ("n\n", "", "\n"):
        stopped = person("erase", NUMBER, *options, stdin=answer)
        assert stopped.exit_code == 1
        assert "to erase: 1 conversations, 1 messages, 1 customers, 1 link events" in stopped.stdout
        assert count("conversations") == count("customers") == 1
    assert person("erase", NUMBER, *options, stdin="y\n").exit_code == 0
    assert count("conversations") == count("customers") == 0


@pytest.mark.parametrize("command", ["erase", "export"])
def test_bad_usage_is_said_in_one_line(person: Person, cli: FlaskCliRunner, command: str):
    reason = ERASE if command == "erase" else ()
    unknown = ["person", command, NUMBER, "--instructor", str(uuid4()), *reason]
    assert cli.invoke(args=unknown).exit_code == 1
    for result in (cli.invoke(args=unknown), person(command, " ", *reason), person(command, "", *reason)):
        assert result.exit_code in (1, 2)
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("reason", ["", " ", "\u200b", "letter of +39 333 1234567", "of 393331234567."])
def test_the_reason_says_something_and_does_not_name_the_person(anna: Desk, person: Person, reason: str):
    anna.conversation(NUMBER)
    refused = person("erase", NUMBER, "--yes", "--reason", reason)
    assert refused.exit_code == 2
    assert count("conversations") == 1


@pytest.mark.shows("CM-2.5.E6")
@pytest.mark.parametrize("by", ["rosa", "4000000000"])
def test_it_is_logged_by_whom_and_why(
    anna: Desk, person: Person, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], by: str
):
    # In a container the user may have no name.
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "" if by.isdecimal() else by)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    anna.conversation(NUMBER)
    result = person("erase", NUMBER, *ERASE)
    told = [json.loads(line) for line in (result.stderr + capfd.readouterr().err).splitlines() if "{" in line]
    (line,) = [item for item in told if item["event"] == "person_erased"]
    assert line["why"] == "asked by letter on 3 May"
    assert line["by"] == by
    assert NUMBER not in json.dumps(line)


@pytest.mark.shows("CM-2.5.E5")
def test_events_that_cannot_be_moved_stop_it(anna: Desk, person: Person):
    conversation_id = anna.conversation(NUMBER)
    anna.link(conversation_id)
    execute(f"UPDATE conversations SET audit_outbox = '[1]' WHERE id = '{conversation_id}'")
    refused = person("erase", NUMBER, *ERASE)
    assert refused.exit_code == 1
    assert "flask audit drain" in refused.stderr
    assert count("conversations") == count("customers") == 1


@pytest.mark.shows("CM-2.5.E5")
def test_a_failure_on_the_way_leaves_everything_as_it_was(settings: Settings, anna: Desk):
    anna.link(anna.conversation(NUMBER))
    before = lines()
    with create_app(as_owner(settings)).app_context():
        with pytest.raises(ZeroDivisionError):
            change_and_fail()
        db.engine.dispose()
    assert lines() == before
    with pytest.raises(DBAPIError, match="append-only"):
        execute("UPDATE audit_events SET event = '{}'")


def change_and_fail() -> None:
    """Change the trail, and fail before that is committed."""
    with owning() as connection, append_only_lifted(connection):
        connection.execute(text("UPDATE audit_events SET event = '{}'"))
        raise ZeroDivisionError


@pytest.mark.shows("CM-2.5.E5")
@on_postgresql
@pytest.mark.parametrize("role", ["console_link", "console_read", "console_ingest"])
def test_the_consoles_own_roles_erase_nothing(anna: Desk, settings: Settings, role: str):
    anna.link(anna.conversation(NUMBER))
    before = lines(), count("messages")
    theirs = create_app(replace(settings, database_url=settings.database_url.set(username=role)))
    command = ["person", "erase", NUMBER, "--instructor", str(anna.instructor_id), *ERASE]
    refused = theirs.test_cli_runner().invoke(args=command)
    assert refused.exit_code == 1
    (told,) = (line for line in refused.stderr.splitlines() if not line.startswith("{"))
    assert told.startswith("Error: only the owner of the tables may do this") or role == "console_ingest"
    with theirs.app_context():
        for statement in (
            "ALTER TABLE audit_events DISABLE TRIGGER audit_events_append_only",
            "SET session_replication_role = replica",
            "UPDATE audit_events SET event = '{}'",
            "DELETE FROM customers",
            "DELETE FROM conversations",
        ):
            with (
                pytest.raises(DBAPIError, match=r"permission denied|must be owner"),
                db.engine.begin() as connection,
            ):
                connection.execute(text(statement))
        db.engine.dispose()
    assert (lines(), count("messages")) == before
