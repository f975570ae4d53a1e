"""What the database itself refuses: epochs that are set, and events of another instructor's conversation."""

from contextlib import AbstractContextManager
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from console.accounts.service import MAX_EPOCH
from console.database import command_scope, writing
from testkit.databases import POSTGRESQL, back_door, execute, rows
from testkit.factories import Desk, run, user
from testkit.pages import Browser
from tests.accounts.test_commands import failed


def as_a_command() -> AbstractContextManager[Connection]:
    return writing(command_scope())


@pytest.mark.shows("CM-2.3.1")
@pytest.mark.parametrize("change", ["- 1", "+ 2", f"+ {MAX_EPOCH - 100}", "- session_epoch"])
def test_a_session_epoch_is_raised_by_one_and_never_set(cli: FlaskCliRunner, anna: Desk, change: str):
    for _ in range(3):
        run(cli, "user", "sign-out", anna.operator.email)
    statement = text(f"UPDATE users SET session_epoch = session_epoch {change}")
    for opened in (as_a_command, back_door):
        with pytest.raises(DBAPIError, match="session_epoch is raised by one"), opened() as connection:
            connection.execute(statement)
    with writing(command_scope()) as connection:
        connection.execute(text("UPDATE users SET session_epoch = session_epoch + 1"))
    assert rows("SELECT session_epoch FROM users") == [(4,)]


def test_a_user_at_the_last_epoch_can_be_disabled_but_their_sessions_are_not_said_to_end(
    app: Flask, cli: FlaskCliRunner, anna: Desk, engine: str
):
    person = user(cli, anna.instructor_id)
    browser = Browser(app)
    tampering = (
        (
            "ALTER TABLE users DISABLE TRIGGER users_session_epoch",
            "ALTER TABLE users ENABLE TRIGGER users_session_epoch",
        )
        if engine == POSTGRESQL
        else ("DROP TRIGGER users_session_epoch", "SELECT 1")
    )
    execute(tampering[0], f"UPDATE users SET session_epoch = {MAX_EPOCH}", tampering[1])
    browser.sign_in(person.email, person.password)
    assert failed(cli, "user", "sign-out", person.email)[0] == 1
    assert browser.submit(browser.get_page("/conversations"), "/logout").status_code == 303
    assert "your other sessions could not" in browser.get_page("/login").text
    browser.sign_in(person.email, person.password)
    assert run(cli, "user", "disable", person.email) == str(person.id)
    assert browser.http.get("/conversations").status_code == 302
    code, line = failed(cli, "user", "enable", person.email)
    assert (code, line) == (
        1,
        "Error: that user's sessions can't be ended any more: disable the user and add another",
    )


@pytest.mark.shows("CM-2.5.1")
def test_an_event_belongs_to_its_conversations_instructor(anna: Desk, bruno: Desk):
    conversation_id = anna.conversation("393331234567")
    insert = text(
        "INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event)"
        " VALUES (:event, :conversation, :instructor, 1, '{}')"
    )
    for conversation, whose in ((conversation_id, bruno), (uuid4(), anna)):
        values = {
            "event": str(uuid4()),
            "conversation": str(conversation),
            "instructor": str(whose.instructor_id),
        }
        for opened in (as_a_command, back_door):
            with pytest.raises(DBAPIError, match="not one of its instructor"), opened() as connection:
                connection.execute(insert, values)
    assert rows("SELECT * FROM audit_events") == []
