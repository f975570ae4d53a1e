"""`flask demo`: the same however often it runs, its sign-ins work, and its links are explained."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from flask_migrate import downgrade
from sqlalchemy import URL, select, text

from console import create_app
from console.config import ROOT, Settings, sqlite_path
from console.conversations import queries
from console.conversations.badges import BadgeState, badges
from console.database import Base, command_scope, db, reading
from console.models import Conversation
from testkit.databases import (
    SQLITE,
    as_owner,
    back_door,
    downgrading,
    environment,
    fresh_copy,
    hanging_up,
    on_postgresql,
    on_sqlite,
    rows,
    settings_for,
)
from testkit.factories import run
from testkit.pages import Browser
from testkit.postgres import Cluster

INSTRUCTOR = "instructor@example.org"
OPERATOR = "operator@example.org"
OPERATOR_OF_ONE = "operator.of.one@example.org"
SHARED_NUMBER = "447700900118"
SIGNED_IN = 303


@pytest.fixture(scope="module")
def filled_file(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run `flask demo` once; return the database file, to be copied, and what was printed."""
    path = Path(shutil.copy(migrated, tmp_path_factory.mktemp("demo") / "console.db"))
    app = create_app(settings_for(path))
    printed = run(app.test_cli_runner(), "demo", "--anywhere")
    with app.app_context():
        for engine in db.engines.values():
            engine.dispose()
    return path, printed


@pytest.fixture(scope="module")
def filled_on_server(cluster: Cluster, migrated_on_server: URL) -> Iterator[tuple[URL, str]]:
    """Run `flask demo` once; return the server's database, to be copied, and what was printed."""
    url = cluster.create_database(migrated_on_server)
    with hanging_up():
        printed = run(create_app(as_owner(settings_for(url))).test_cli_runner(), "demo", "--anywhere")
    yield url, printed
    cluster.drop_database(url)


@pytest.fixture
def filled(engine: str, request: pytest.FixtureRequest) -> tuple[Path | URL, str]:
    """Return the database with the demo data, to be copied, and what was printed."""
    made: tuple[Path | URL, str] = request.getfixturevalue(
        "filled_file" if engine == SQLITE else "filled_on_server"
    )
    return made


@pytest.fixture
def settings(
    filled: tuple[Path | URL, str], request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Settings]:
    """Return the settings of a console with the demo data, in place of an empty one."""
    where, _ = filled
    if isinstance(where, Path):
        yield settings_for(Path(shutil.copy(where, tmp_path / "console.db")))
    else:
        with fresh_copy(request.getfixturevalue("cluster"), where) as url:
            yield settings_for(url)


@pytest.fixture
def passwords(filled: tuple[Path | URL, str]) -> dict[str, str]:
    """Return the demo passwords, by address, as printed."""
    return read_passwords(filled[1])


def read_passwords(printed: str) -> dict[str, str]:
    return {email: password for _, email, password in map(str.split, printed.splitlines())}


def everything() -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table."""
    return {
        table.name: sorted(rows(f"SELECT * FROM {table.name}"), key=repr)
        for table in Base.metadata.sorted_tables
    }


def shape() -> tuple[dict[str, int], list[tuple[Any, ...]]]:
    """Return how many rows each table has, and what is linked how often."""
    links = "SELECT id, customer_id IS NULL, link_version, audit_outbox FROM conversations ORDER BY id"
    return {name: len(found) for name, found in everything().items()}, rows(links)


def states() -> dict[UUID, BadgeState]:
    """Return the badge of every conversation."""
    with reading(command_scope()) as connection:
        ids = connection.scalars(select(Conversation.id)).all()
        found = queries.subjects(connection, conversation_ids=list(map(str, ids)))
        return {UUID(badge.conversation_id): badge.state for badge in badges(connection, found)}


def instructor_id(name: str) -> str:
    ((found,),) = rows(f"SELECT id FROM instructors WHERE name = '{name}'")
    return str(found)


def test_prints_role_address_and_password_and_nothing_else(filled: tuple[Path | URL, str]):
    lines = filled[1].splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["instructor", INSTRUCTOR],
        ["operator", OPERATOR],
        ["operator", OPERATOR_OF_ONE],
    ]
    assert len({line.index(line.split()[1]) for line in lines}) == 1
    assert len({line.index(line.split()[2]) for line in lines}) == 1
    assert all(len(password) >= 16 for password in read_passwords(filled[1]).values())


@pytest.mark.parametrize(
    ("email", "instructors", "links"),
    [
        (INSTRUCTOR, {"Chiara Demetz": 200, "Luca Moser": 404}, 403),
        (OPERATOR, {"Chiara Demetz": 200, "Luca Moser": 200}, 200),
        (OPERATOR_OF_ONE, {"Chiara Demetz": 404, "Luca Moser": 200}, 200),
    ],
)
def test_the_printed_sign_ins_sign_in(
    client: Browser, passwords: dict[str, str], email: str, instructors: dict[str, int], links: int
):
    assert client.sign_in(email, passwords[email]).status_code == SIGNED_IN
    for name, status in instructors.items():
        client.get_page(f"/conversations?instructor={instructor_id(name)}", status)
    client.get_page("/links", links)


def test_a_second_run_changes_nothing_and_prints_the_same(
    cli: FlaskCliRunner, filled: tuple[Path | URL, str]
):
    before = everything()
    assert run(cli, "demo", "--anywhere") == filled[1]
    assert everything() == before


def test_a_further_run_restores_what_is_missing(cli: FlaskCliRunner):
    before = everything()
    gone = "(SELECT id FROM conversations WHERE customer_identifier = '40404')"
    with back_door() as connection:
        for statement in (
            f"DELETE FROM messages WHERE conversation_id IN {gone} OR kind = 'sticker'",
            f"DELETE FROM conversations WHERE id IN {gone}",
            "DELETE FROM memberships",
            "DELETE FROM channel_accounts",
        ):
            assert connection.execute(text(statement)).rowcount
    run(cli, "demo", "--anywhere")
    assert everything() == before


def test_a_second_run_keeps_what_a_person_changed(
    cli: FlaskCliRunner, client: Browser, passwords: dict[str, str]
):
    linked = next(id_ for id_, state in states().items() if state == BadgeState.KNOWN)
    client.sign_in(OPERATOR, passwords[OPERATOR])
    page = client.get_page(f"/links/{linked}")
    sent = client.submit(page, f"/links/{linked}/unlink", reason="Not the same person", confirm="1")
    assert sent.status_code == 303
    changed = everything()
    run(cli, "demo", "--anywhere")
    assert everything() == changed
    assert states()[linked] == BadgeState.NEW


@pytest.fixture
def empty(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Return the settings of a console on a database without anything in it."""
    if engine == SQLITE:
        yield settings_for(Path(shutil.copy(request.getfixturevalue("migrated"), tmp_path / "empty.db")))
    else:
        migrated: URL = request.getfixturevalue("migrated_on_server")
        with fresh_copy(request.getfixturevalue("cluster"), migrated) as url:
            yield settings_for(url)


def test_two_at_once_are_as_good_as_one(app: Flask, empty: Settings):
    once = shape()
    settings = as_owner(empty)
    command = [sys.executable, "-m", "flask", "demo", "--anywhere"]
    both = [
        subprocess.Popen(command, cwd=ROOT, env=environment(settings), text=True, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    printed = {process.communicate()[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(printed) == 1
    twice = create_app(settings)
    with twice.app_context():
        run(twice.test_cli_runner(), "audit", "drain")  # of two writers one may have left its event waiting
        run(twice.test_cli_runner(), "audit", "verify")
        assert shape() == once


def test_another_secret_key_sets_other_passwords(settings: Settings, passwords: dict[str, str]):
    app = create_app(as_owner(replace(settings, secret_key="another secret")))
    with app.app_context():
        new = read_passwords(run(app.test_cli_runner(), "demo", "--anywhere"))
        assert new.keys() == passwords.keys()
        for email, password in new.items():
            assert Browser(app).sign_in(email, passwords[email]).status_code != SIGNED_IN
            assert Browser(app).sign_in(email, password).status_code == SIGNED_IN


def test_the_database_holds_no_password_in_clear(
    app: Flask, engine: str, settings: Settings, passwords: dict[str, str]
):
    path = sqlite_path(settings.database_url)
    stored = path.read_bytes() if path else repr(everything()).encode()
    assert OPERATOR.encode() in stored
    for password in passwords.values():
        assert password.encode() not in stored
        assert password.replace("-", "").encode() not in stored


def test_every_badge_is_there_for_both_instructors(client: Browser, passwords: dict[str, str]):
    client.sign_in(OPERATOR, passwords[OPERATOR])
    for name in ("Chiara Demetz", "Luca Moser"):
        page = client.get_page(f"/conversations?instructor={instructor_id(name)}&plain=1")
        shown = Counter(badge["data-state"] for badge in page.select(".badge[data-state]"))
        assert shown.keys() == {"known", "new", "unlinked"}


def test_the_same_identifier_is_linked_where_it_is_closed_and_not_where_it_is_open(app: Flask):
    pairs = rows(
        "SELECT closed.id, open.id FROM conversations closed JOIN conversations open "
        "ON open.instructor_id = closed.instructor_id "
        "AND open.customer_identifier = closed.customer_identifier "
        "WHERE closed.status = 'closed' AND open.status = 'open'"
    )
    shown = states()
    assert (BadgeState.KNOWN, BadgeState.NEW) in {
        (shown[UUID(item)], shown[UUID(other)]) for item, other in pairs
    }


def test_the_person_who_writes_to_both_instructors_is_two_customers(cli: FlaskCliRunner):
    ids = rows(f"SELECT id FROM conversations WHERE customer_identifier = '{SHARED_NUMBER}'")
    shown = [json.loads(run(cli, "badge", str(id_))) for (id_,) in ids]
    assert [badge["state"] for badge in shown] == ["known", "known"]
    assert len({badge["customer_id"] for badge in shown}) == 2


@pytest.mark.shows("CM-2.2.17")
def test_events_explain_every_link_and_tell_of_each_kind_of_write(cli: FlaskCliRunner):
    run(cli, "audit", "verify")
    events = [json.loads(line) for line in run(cli, "audit", "export").splitlines()]
    assert {event["event_name"] for event in events} == {
        "conversation.customer_linked",
        "conversation.customer_relinked",
        "conversation.customer_unlinked",
    }
    assert all(event["reason"].strip() for event in events)


def test_lists_and_threads_are_long_enough_to_have_pages(client: Browser, passwords: dict[str, str]):
    client.sign_in(INSTRUCTOR, passwords[INSTRUCTOR])
    (more,) = client.get_page("/conversations").select(".more a")
    assert client.get_page(str(more["href"])).select(".rows li")
    ((longest, count),) = rows(
        "SELECT conversation_id, count(*) AS n FROM messages GROUP BY 1 ORDER BY n DESC LIMIT 1"
    )
    assert count > 100
    (older,) = client.get_page(f"/conversations/{longest}").select(".more a")
    client.get_page(str(older["href"]))


def test_a_message_to_a_demo_account_joins_its_conversation(cli: FlaskCliRunner, tmp_path: Path):
    before = len(everything()["conversations"])
    value = {
        "metadata": {"phone_number_id": "100000000000002"},
        "messages": [
            {"from": SHARED_NUMBER, "id": "wamid.new", "timestamp": "1767225600", "type": "text"},
        ],
    }
    file = tmp_path / "payloads.jsonl"
    file.write_text(json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]}))
    assert run(cli, "ingest", str(file)).splitlines()[0] == "stored 1"
    assert len(everything()["conversations"]) == before


@downgrading
def test_a_database_that_lacks_a_migration_is_one_clear_line(settings: Settings, cli: FlaskCliRunner):
    with create_app(as_owner(settings)).app_context():
        downgrade(revision="0001_inbox", x_arg=["drop-audit=yes"])
    result = cli.invoke(args=["demo", "--anywhere"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "Error: the database is at 0001_inbox, not at 0014_rejected_payload_keys: flask db upgrade"
    ]


@on_sqlite
def test_a_database_that_is_not_there_is_one_clear_line(settings: Settings):
    path = sqlite_path(settings.database_url)
    assert path
    path.unlink()
    result = create_app(settings).test_cli_runner().invoke(args=["demo", "--anywhere"])
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert "flask db upgrade" in line


@on_sqlite
def test_a_database_with_other_peoples_data_is_refused_unless_told(cli: FlaskCliRunner):
    for _ in range(2):
        assert cli.invoke(args=["demo"]).exit_code == 0
    run(cli, "instructor", "add", "Anna Kofler")
    before = everything()
    result = cli.invoke(args=["demo"])
    assert (result.exit_code, result.stdout) == (3, "")
    assert "--anywhere" in result.stderr
    assert everything() == before
    assert cli.invoke(args=["demo", "--anywhere"]).exit_code == 0


@on_postgresql
def test_a_server_is_refused_unless_told(app: Flask, cli: FlaskCliRunner):
    result = cli.invoke(args=["demo"])
    assert result.exit_code == 3
