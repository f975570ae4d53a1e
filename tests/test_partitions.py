"""Tables partitioned by hash of `instructor_id`: what a request touches, and what holds there as well.

`make test-partitioned` runs the whole suite on such tables.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import URL, Connection

from console.config import Settings
from console.database import Scope, app_engines, db
from testkit.databases import (
    PARTITION,
    POSTGRESQL,
    as_owner,
    execute,
    fresh_copy,
    rows,
    settings_for,
)
from testkit.factories import Desk, desk, trail, user
from testkit.pages import Browser
from testkit.postgres import Cluster
from testkit.statements import without_control
from tests.test_migrations import flask
from tests.test_plans import requests, statements

PARTITION_NAME = re.compile("(?:conversations|messages|customers|audit_events|rejected_payloads)_([0-7])")
PARTITIONS = {str(number) for number in range(8)}


@pytest.fixture
def engine() -> str:
    """Run on the one engine that has partitions."""
    return POSTGRESQL


@pytest.fixture
def settings(cluster: Cluster, partitioned_on_server: URL) -> Iterator[Settings]:
    """Return the settings of a console on a fresh database with partitioned tables."""
    with fresh_copy(cluster, partitioned_on_server) as url:
        yield settings_for(url)


def touched(connection: Connection, statement: str, parameters: Any) -> set[str]:
    """Run a statement, and return the numbers of the partitions in which it looked."""
    row = parameters[0] if isinstance(parameters, list) else parameters
    ((answer,),) = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", row)
    plan = (answer if isinstance(answer, list) else json.loads(answer))[0]["Plan"]
    return set(_touched(plan))


def _touched(node: dict[str, Any]) -> Iterator[str]:
    if node["Actual Loops"] and (found := PARTITION_NAME.fullmatch(node.get("Relation Name", ""))):
        yield found[1]
    for inner in node.get("Plans", ()):
        yield from _touched(inner)


def test_a_request_touches_the_partition_of_its_instructor_and_no_other(
    app: Flask, client: Browser, anna: Desk
):
    seen = {(name, statement): asked for name, statement, asked in requests(client, anna)}
    ((own,),) = rows("SELECT DISTINCT right(tableoid::regclass::text, 1) FROM conversations")
    looked = 0
    scope = Scope(app_engines(), [anna.instructor_id])
    for (name, statement), parameters in seen.items():
        if not without_control([statement]) or statement.startswith("INSERT"):
            continue
        with db.engines[name].connect() as connection:
            connection.exec_driver_sql(scope.setting)
            found = touched(connection, statement, parameters)
            connection.rollback()
        assert found <= {own}, statement
        looked += bool(found)
    assert looked > 15


def test_one_more_instructor_is_one_more_partition(app: Flask, cli: FlaskCliRunner, anna: Desk):
    others = [desk(cli, f"Bruno {number}") for number in range(7)]
    for other in others:
        user(cli, other.instructor_id, "operator", anna.operator.email)
    conversation_id = anna.conversation("393331234567")
    client = Browser(app)
    client.sign_in(anna.operator.email, anna.operator.password)
    with statements() as seen:
        client.http.get(f"/conversations?instructor={anna.instructor_id}")
    ((own,),) = rows("SELECT DISTINCT right(tableoid::regclass::text, 1) FROM conversations")
    scope = Scope(app_engines(), [anna.instructor_id, *(other.instructor_id for other in others)])
    for name, statement, parameters in seen:
        if without_control([statement]):
            with db.engines[name].connect() as connection:
                connection.exec_driver_sql(scope.setting)
                assert touched(connection, statement, parameters) <= {own}, statement
    assert client.http.get(f"/conversations/{conversation_id}").status_code == 200


def test_the_same_tables_keys_indexes_and_triggers(
    app: Flask, cluster: Cluster, settings: Settings, migrated_on_server: URL
):
    described = (
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid <> 0 AND conparentid = 0 UNION ALL "
        "SELECT indrelid::regclass::text, indexrelid::regclass::text,"
        " replace(pg_get_indexdef(indexrelid), ' ONLY ', ' ') FROM pg_index UNION ALL "
        "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger"
        " WHERE NOT tgisinternal"
    )

    def of_tables(database: str | None) -> set[tuple[Any, ...]]:
        found = cluster.execute(described, database or "")
        return {
            row for row in found if not str(row[0]).startswith("pg_") and not re.search("_[0-7]$", row[0])
        }

    partitioned = of_tables(settings.database_url.database)
    plain = of_tables(migrated_on_server.database)
    assert partitioned == plain
    assert {
        owner for (owner,) in rows("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
    }


def test_a_database_with_rows_is_not_partitioned(cluster: Cluster, migrated_on_server: URL):
    with fresh_copy(cluster, migrated_on_server) as url:
        database = url.database or ""
        row = "VALUES (gen_random_uuid(), now(), '', '', '')"
        cluster.execute(f"INSERT INTO rejected_payloads {row}", database)
        with pytest.raises(psycopg.errors.RaiseException, match="rejected_payloads"):
            cluster.execute(PARTITION.read_text(), database)


@pytest.mark.parametrize("number", sorted(PARTITIONS))
def test_no_partition_of_the_trail_is_changed_or_emptied_past_its_table(app: Flask, anna: Desk, number: str):
    anna.link(anna.conversation("393331234567"))
    before = trail()
    for statement in ("UPDATE {} SET event = ''", "DELETE FROM {}", "TRUNCATE {}"):
        with pytest.raises(Exception, match="append-only"):
            execute(statement.format(f"audit_events_{number}"))
    assert trail() == before


def test_the_consoles_roles_may_do_nothing_with_a_partition(cluster: Cluster, settings: Settings):
    question = (
        "SELECT count(*) FROM pg_class, unnest(ARRAY['console_read', 'console_link', 'console_ingest']) role,"
        " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) privilege"
        " WHERE relispartition AND relkind = 'r' AND has_table_privilege(role, oid, privilege)"
    )
    assert cluster.execute(question, settings.database_url.database or "") == [(0,)]


def test_a_downgrade_of_the_keys_is_refused_in_one_line(settings: Settings):
    process = flask(as_owner(settings), "db", "downgrade")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "rejected_payloads is partitioned" in said
    assert "Traceback" not in said
