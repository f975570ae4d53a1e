"""Metrics: what is counted, under which labels, and that nothing of what people write becomes one."""

import json
import re
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Connection, Engine, event, text

from console import create_app
from console.config import ROOT, Settings, sqlite_path
from console.conversations.resolution import Reason
from console.database import db
from console.ingestion.service import ingest_payload
from console.linking import service
from testkit.databases import back_door, execute, on_postgresql, on_sqlite, settings_for
from testkit.factories import Desk, desk, link_state, payload, run, user
from testkit.pages import Browser
from testkit.statements import PARTITIONS

Samples = dict[tuple[str, ...], float]

WAITING = ("console_audit_outbox_conversations",)
AGE = ("console_audit_outbox_oldest_seconds",)


def samples(app: Flask) -> Samples:
    """Return what /metrics says: the name and each label's value, and the number."""
    answer = Browser(app).http.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


@contextmanager
def counted(app: Flask, *names: str) -> Iterator[Samples]:
    """Collect by how much the metrics of these names rise meanwhile."""
    rise: Samples = {}
    before = samples(app)
    yield rise
    for key, value in samples(app).items():
        if key[0] in names and value != before.get(key, 0):
            rise[key] = value - before.get(key, 0)


def plan_of(app: Flask, part: str) -> str:
    """Return the plan of the one statement with this in it that asking for the metrics takes."""
    asked: list[tuple[Engine, str, Any]] = []

    def listener(
        connection: Connection, _cursor: object, statement: str, parameters: Any, *_: object
    ) -> None:
        if part in statement:
            asked.append((connection.engine, statement, parameters))

    engines = [db.engines["read"], db.engines["ingest"]]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", listener)
    samples(app)
    for engine in engines:
        event.remove(engine, "before_cursor_execute", listener)
    ((engine, statement, parameters),) = asked
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            return str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all())
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = str(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).all())
        for partition, whole in connection.execute(text(f"{PARTITIONS} ORDER BY length(child.relname) DESC")):
            plan = plan.replace(partition, whole)
        return plan


def test_requests_are_counted_by_the_rule_of_their_route_a_known_method_and_the_status(
    app: Flask, marta: Browser, anna: Desk
):
    conversation_id = anna.conversation("393331234567")
    with counted(app, "console_request_seconds_count") as rise:
        marta.http.get(f"/conversations/{conversation_id}")
        marta.http.get(f"/conversations/{uuid4()}")
        marta.http.get("/conversations/393331234567?q=393331234567")
        marta.http.get("/393331234567")
        marta.http.get("/393330000000")
        marta.http.open("/healthz", method="X393331234567")
        marta.http.open("/healthz", method="PURGE")
    name, route = "console_request_seconds_count", "/conversations/<id:conversation_id>"
    del rise[name, "GET", "/metrics", "200"]
    assert rise == {
        (name, "GET", route, "200"): 1,
        (name, "GET", route, "404"): 2,
        (name, "GET", "none", "404"): 2,
        (name, "other", "none", "405"): 2,
    }


def test_times_fall_into_buckets_from_two_milliseconds_to_ten_seconds(app: Flask, client: Browser):
    client.get_page("/healthz")
    found = {
        key[1] for key in samples(app) if key[0] == "console_request_seconds_bucket" and "/healthz" in key
    }
    bounds = sorted(map(float, found))
    assert bounds[0] == 0.002
    assert bounds[-2:] == [10, float("inf")]


def test_badges_are_counted_by_state_and_unresolved_conversations_by_reason(
    app: Flask, marta: Browser, anna: Desk
):
    known, new = anna.conversation("393331111111"), anna.conversation("393332222222")
    anna.link(known)
    with back_door() as connection:
        key = {"id": str(uuid4()), "of": str(anna.instructor_id)}
        connection.execute(
            text(
                "INSERT INTO customers (id, instructor_id, channel, normalized_identifier, created_at)"
                " VALUES (:id, :of, 'whatsapp', '393332222222', CURRENT_TIMESTAMP)"
            ),
            key,
        )
    unknown, unreadable = anna.conversation("393333333333"), anna.conversation("call me")
    asked = "&".join(f"id={row}" for row in (known, new, unknown, unreadable))
    with counted(app, "console_badges_total", "console_resolutions_none_total") as rise:
        assert marta.http.get(f"/badges?{asked}").status_code == 200
    assert rise == {
        ("console_badges_total", "known"): 1,
        ("console_badges_total", "new"): 1,
        ("console_badges_total", "unlinked"): 2,
        ("console_resolutions_none_total", "no_customer"): 1,
        ("console_resolutions_none_total", "invalid_identifier"): 1,
    }


def test_labels_that_dashboards_use_exist_from_the_start(app: Flask, marta: Browser, anna: Desk):
    conversation_id = anna.conversation("393331111111")
    anna.link(conversation_id)
    assert marta.http.get(f"/badges?id={conversation_id}").status_code == 200
    told = Browser(app).http.get("/metrics").text
    for series in (
        'console_badges_total{state="known"}',
        'console_resolutions_none_total{reason="no_identifier"}',
        'console_resolutions_none_total{reason="invalid_identifier"}',
        'console_resolutions_none_total{reason="no_instructor"}',
        'console_resolutions_none_total{reason="no_customer"}',
        'console_resolutions_none_total{reason="ambiguous"}',
        'console_resolutions_none_total{reason="lookup_failed"}',
        *(
            f'console_link_writes_total{{outcome="{outcome}",why=""}}'
            for outcome in ("linked", "relinked", "unlinked", "unchanged", "repeated")
        ),
        'console_link_writes_total{outcome="refused",why="LinkChanged"}',
    ):
        assert f"\n{series} " in told


def test_a_lookup_that_fails_is_counted(app: Flask, marta: Browser, anna: Desk):
    asked = anna.conversation("393331111111")
    execute("ALTER TABLE customers RENAME TO away")
    with counted(app, "console_resolutions_none_total") as rise:
        assert marta.http.get(f"/badges?id={asked}").status_code == 200
    assert rise == {("console_resolutions_none_total", Reason.LOOKUP_FAILED): 1}


def test_a_write_that_cannot_be_counted_is_made_and_answered(
    anna: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.delattr(service, "_writes")
    conversation_id = anna.conversation("393331111111")
    assert anna.link(conversation_id) == service.LinkOutcome.LINKED
    assert link_state(conversation_id).link_version == 1
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert ("write_not_counted", "NameError") in {(line["event"], line.get("kind")) for line in told}


def test_link_writes_are_counted_by_what_came_of_them(app: Flask, cli: FlaskCliRunner, anna: Desk):
    conversation_id, other = anna.conversation("393331111111"), anna.conversation("393332222222")
    reader = user(cli, anna.instructor_id, "instructor")
    second, first_operation = anna.customer("393335555555"), uuid4()
    with counted(app, "console_link_writes_total") as rise:
        anna.link(conversation_id, operation_id=first_operation)
        anna.link(conversation_id, operation_id=first_operation, seen_version=0)
        created = link_state(conversation_id).customer_id
        anna.link(conversation_id, created)
        anna.link(conversation_id, second, confirmed=True)
        anna.unlink(conversation_id)
        for refused, where, changes in (
            (service.ConversationNotFound, conversation_id, {"actor_id": uuid4()}),
            (service.NotAllowed, conversation_id, {"actor_id": reader.id}),
            (service.CustomerNotFound, conversation_id, {"customer_id": uuid4()}),
            (service.CustomerNotCreatable, conversation_id, {}),
            (service.ReasonMissing, conversation_id, {"reason": " "}),
            (service.LinkChanged, conversation_id, {"seen_version": 0}),
            (service.OperationReused, other, {"operation_id": first_operation}),
        ):
            with pytest.raises(refused):
                anna.link(where, **changes)
        anna.link(other, second)
        with pytest.raises(service.NotConfirmed):
            anna.unlink(other, confirmed=False)
    name = "console_link_writes_total"
    refusals = {(name, "refused", kind.__name__): 1.0 for kind in service.LinkError.__subclasses__()}
    done = {(name, outcome, ""): 1.0 for outcome in ("relinked", "unlinked", "unchanged", "repeated")}
    assert rise == {**refusals, **done, (name, "linked", ""): 2}


def test_ingested_items_are_counted_by_result_and_rejections_by_reason(app: Flask, anna: Desk):
    raw = payload(anna.phone_number_id, "393331234567").encode()
    with counted(app, "console_ingested_total", "console_rejected_payloads_total") as rise:
        ingest_payload(raw)
        ingest_payload(raw)
        ingest_payload(payload("no one's", "393331234567").encode())
        ingest_payload(b"{393331234567")
        ingest_payload(b'{"entry": []}')
    assert rise == {
        ("console_ingested_total", "stored"): 1,
        ("console_ingested_total", "repeated"): 1,
        ("console_ingested_total", "ignored"): 1,
        ("console_ingested_total", "rejected"): 2,
        ("console_rejected_payloads_total", "unknown account"): 1,
        ("console_rejected_payloads_total", "not JSON"): 1,
    }


def test_the_newest_message_of_each_channel_has_its_moment(app: Flask, cli: FlaskCliRunner, anna: Desk):
    name = "console_last_message_timestamp_seconds"
    assert (name, "whatsapp") not in samples(app)
    anna.conversation("393331111111", at=1_767_225_600)
    desk(cli, "Bruno Pichler").conversation("393332222222", at=1_767_225_660)
    anna.conversation("393333333333", at=1_767_225_630)
    assert samples(app)[name, "whatsapp"] == 1_767_225_660
    in_a_year = int(time.time()) + 365 * 24 * 3600
    anna.conversation("393334444444", at=in_a_year)
    assert samples(app)[name, "whatsapp"] == 1_767_225_660


def test_the_newest_message_is_found_by_an_index(app: Flask, anna: Desk):
    anna.conversation("393331111111")
    plan = plan_of(app, "max(")
    assert "ix_conversations_inbox" in plan
    assert "Seq Scan on conversations" not in plan


def test_events_that_wait_are_counted_with_their_age_until_they_are_moved(
    app: Flask, cli: FlaskCliRunner, anna: Desk
):
    first, second = anna.conversation("393331111111"), desk(cli, "Bruno Pichler").conversation("393332222222")
    assert {samples(app)[WAITING], samples(app)[AGE]} == {0}
    execute("ALTER TABLE audit_events RENAME TO away")
    with counted(app, "console_audit_move_failures_total") as rise:
        anna.link(first)
        anna.unlink(first)
    assert rise == {("console_audit_move_failures_total",): 2}
    assert samples(app)[WAITING] == 1
    execute(
        'UPDATE conversations SET audit_outbox = \'[{"timestamp": "2026-01-01T00:00:00.000000Z"}]\''
        f" WHERE id = '{second}'"
    )
    waiting = samples(app)
    assert waiting[WAITING] == 2
    assert waiting[AGE] > 24 * 3600
    execute(
        "ALTER TABLE away RENAME TO audit_events",
        f"UPDATE conversations SET audit_outbox = NULL WHERE id = '{second}'",
    )
    run(cli, "audit", "drain")
    assert {samples(app)[WAITING], samples(app)[AGE]} == {0}


@pytest.mark.parametrize("damage", ['"no list"', "{}", "[]", "[1]", '[{"timestamp": "yesterday"}]', "17"])
def test_a_damaged_outbox_counts_and_has_no_age(app: Flask, anna: Desk, damage: str):
    conversation_id = anna.conversation("393331111111")
    execute(f"UPDATE conversations SET audit_outbox = '{damage}' WHERE id = '{conversation_id}'")
    assert samples(app)[WAITING] == 1
    assert samples(app)[AGE] == 0


@on_sqlite
def test_an_outbox_that_is_no_json_counts_and_has_no_age(app: Flask, anna: Desk):
    conversation_id = anna.conversation("393331111111")
    execute(f"UPDATE conversations SET audit_outbox = 'no json' WHERE id = '{conversation_id}'")
    assert samples(app)[WAITING] == 1
    assert samples(app)[AGE] == 0


def test_the_outboxes_are_found_by_their_index(app: Flask, anna: Desk):
    anna.conversation("393331111111")
    plan = plan_of(app, "audit_outbox")
    assert "ix_conversations_audit_outbox" in plan
    assert "Seq Scan" not in plan


def test_the_other_metrics_are_there_without_the_tables(
    app: Flask, anna: Desk, capfd: pytest.CaptureFixture[str]
):
    execute("ALTER TABLE conversations RENAME TO away")
    told = samples(app)
    assert told["console_database_usable", "write"] == 0
    assert told["console_link_writes_total", "linked", ""] >= 0
    assert WAITING not in told
    assert AGE not in told
    assert '"event": "outbox_not_counted"' in capfd.readouterr().err


@on_sqlite
def test_the_other_metrics_are_there_without_the_database_file(settings: Settings):
    path = sqlite_path(settings.database_url)
    assert path
    path.unlink()
    told = samples(create_app(settings))
    assert {told["console_database_usable", which] for which in ("write", "read", "ingest")} == {0}
    assert WAITING not in told


@on_postgresql
def test_the_other_metrics_are_there_without_the_server(settings: Settings):
    told = samples(create_app(settings_for(settings.database_url.set(port=1))))
    assert {told["console_database_usable", which] for which in ("write", "read", "ingest")} == {0}
    assert WAITING not in told


def test_every_label_of_a_metric_is_one_of_the_consoles_words(app: Flask, marta: Browser, anna: Desk):
    number, words = "393339876543", "Zanzibar"
    conversation_id = anna.conversation(number, text=words)
    anna.link(conversation_id, reason=words)
    before = samples(app)
    for path in (f"/conversations?q={number}", f"/{words}", f"/badges?id={words}", f"/links/{number}"):
        marta.http.get(path, headers={"X-Request-Id": words, "User-Agent": words, "Referer": words})
    told = Browser(app).http.get("/metrics").text
    assert number not in told
    assert words not in told
    values = {value for key, count in samples(app).items() if count != before.get(key) for value in key[1:]}
    routes = {rule.rule for rule in app.url_map.iter_rules()} | {"none"}
    assert {value for value in values if "/" in value} <= routes
    rest = {value for value in values - routes if not re.fullmatch(r"[0-9.]+|\+Inf", value)}
    assert rest
    assert all(re.fullmatch(r"[A-Za-z_]*", value) for value in rest), rest


def test_payloads_that_wait_are_counted_until_they_are_stored(app: Flask, anna: Desk, cli: FlaskCliRunner):
    waiting = ("console_waiting_payloads",)
    assert samples(app)[waiting] == 0
    ingest_payload(payload("5550001", "393331234567").encode())
    ingest_payload(b"no JSON")
    assert samples(app)[waiting] == 2
    run(cli, "channel", "add", "whatsapp", "5550001", "--instructor", str(anna.instructor_id))
    cli.invoke(args=["ingest", "--rejected"])
    assert samples(app)[waiting] == 1


def test_memory_connections_and_the_version_are_told(app: Flask):
    found = samples(app)
    assert 10_000_000 < found["console_memory_bytes",] < 10_000_000_000
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert found["console_version", project["version"]] == 1
    with db.engine.connect(), db.engine.connect():
        assert samples(app)["console_database_connections", "write", "in use"] == 2
    found = samples(app)
    assert found["console_database_connections", "write", "in use"] == 0
    assert found["console_database_connections", "write", "kept"] >= 2
