"""The snapshot that a request's person is loaded from, which their page reads on in (docs/decisions/0001)."""

from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import event, select

from console.accounts.service import end_sessions, load_actor
from console.database import Scope, command_scope, db, open_snapshot, reading
from console.models import User
from testkit.factories import Desk, user
from testkit.pages import Browser


@pytest.fixture
def person(cli: FlaskCliRunner, anna: Desk) -> UUID:
    """Return a user who may read Anna's conversations."""
    return user(cli, anna.instructor_id, "instructor").id


def epoch_of(scope: Scope, user_id: UUID) -> int:
    with reading(scope) as connection:
        return connection.execute(select(User.session_epoch).where(User.id == user_id)).scalar_one()


def taken(app: Flask) -> int:
    """Return how many connections are out of the readers' pools."""
    with app.app_context():
        pools: list[Any] = [engine.pool for engine in db.engines.values()]
        return sum(pool.checkedout() for pool in pools)


@pytest.mark.parametrize(
    "path", ["/conversations", "/conversations/{conversation_id}", "/badges?id={conversation_id}"]
)
def test_a_page_takes_one_transaction_with_its_person(
    app: Flask, client: Browser, cli: FlaskCliRunner, anna: Desk, path: str
):
    reader = user(cli, anna.instructor_id, "instructor")
    client.sign_in(reader.email, reader.password)
    conversation_id = anna.conversation("393331234567")
    begun: list[object] = []
    with app.app_context():
        engines = list(db.engines.values())
    for engine in engines:
        event.listen(engine, "begin", begun.append)
    assert client.http.get(path.format(conversation_id=conversation_id)).status_code == 200
    assert len(begun) == 1
    assert taken(app) == 0


@pytest.mark.parametrize(
    "path", ["/conversations?before=garbage", "/badges", "/links", "/conversations/no-such-id"]
)
def test_a_snapshot_that_no_page_reads_ends_with_its_request(
    app: Flask, client: Browser, cli: FlaskCliRunner, anna: Desk, path: str
):
    reader = user(cli, anna.instructor_id, "instructor")
    client.sign_in(reader.email, reader.password)
    assert client.http.get(path).status_code >= 400
    assert taken(app) == 0


def test_a_reader_after_a_write_sees_it(app: Flask, person: UUID):
    scope = command_scope()
    assert load_actor(scope, person, 0)
    end_sessions(scope, person, 0)
    assert epoch_of(scope, person) == 1


def test_a_snapshot_is_gone_on_in_once(app: Flask, person: UUID):
    scope = command_scope()
    assert load_actor(scope, person, 0)
    end_sessions(command_scope(), person, 0)
    assert epoch_of(scope, person) == 0
    assert epoch_of(scope, person) == 1


def test_a_reader_that_fails_leaves_no_snapshot_open(app: Flask):
    scope = command_scope()
    open_snapshot(scope)
    with pytest.raises(LookupError), reading(scope):
        raise LookupError
    assert taken(app) == 0
