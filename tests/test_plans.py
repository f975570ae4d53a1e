"""How PostgreSQL finds rows behind row-level security: by an index, in every statement of every page.

Row-level security keeps the planner from searching an index for anything that might leak what other rows
hold, so that a statement may be right and read the whole table all the same.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask
from sqlalchemy import Connection, event, text

from console.conversations.cursors import Cursor
from console.database import Scope, app_engines, db, now
from console.ingestion.service import ingest_payload
from testkit.databases import on_postgresql
from testkit.factories import Desk, payload
from testkit.pages import Browser
from testkit.statements import without_control

LARGE = {"conversations", "messages", "customers", "audit_events"}

Statement = tuple[str | None, str, Any]


@contextmanager
def statements() -> Iterator[list[Statement]]:
    """Collect what is executed, as (engine, statement, parameters)."""
    seen: list[Statement] = []
    engines = {name: db.engines[name] for name in (None, "read", "ingest")}

    def collector(name: str | None) -> Any:
        return lambda *call: seen.append((name, call[2], call[3]))

    collectors = {name: collector(name) for name in engines}
    for name, engine in engines.items():
        event.listen(engine, "before_cursor_execute", collectors[name])
    yield seen
    for name, engine in engines.items():
        event.remove(engine, "before_cursor_execute", collectors[name])


def plan(connection: Connection, statement: str, parameters: Any) -> dict[str, Any]:
    """Return how a statement would be executed if an index were the best way wherever there is one."""
    for other in ("seqscan", "hashjoin", "mergejoin", "material", "memoize"):
        connection.execute(text(f"SET LOCAL enable_{other} = off"))
    given = parameters[0] if isinstance(parameters, list) else parameters
    ((answer,),) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", given)
    found: dict[str, Any] = (answer if isinstance(answer, list) else json.loads(answer))[0]["Plan"]
    return found


def read_through(node: dict[str, Any]) -> Iterator[str]:
    """Give the large tables of which a plan reads every row."""
    if node.get("One-Time Filter") == "false":
        return  # PostgreSQL 15 plans also what it then never does
    searches = node["Node Type"] in ("ModifyTable", "Bitmap Heap Scan") or "Index Cond" in node
    if node.get("Relation Name") in LARGE and not searches:
        yield f"{node['Node Type']} on {node['Relation Name']}"
    for inner in node.get("Plans", ()):
        yield from read_through(inner)


def requests(client: Browser, anna: Desk) -> list[Statement]:
    """Get every kind of page, link, and let messages come; return the statements."""
    conversation_id, other = anna.conversation("393331234567"), anna.conversation("393330000000")
    anna.link(other)
    client.sign_in(anna.operator.email, anna.operator.password)
    form = f"/links/{conversation_id}"
    with statements() as seen:
        for path in (
            "/conversations",
            "/conversations?q=333",
            "/conversations?plain=1",
            f"/conversations?before={Cursor(now(), conversation_id)}",
            f"/conversations/{conversation_id}",
            f"/conversations/{conversation_id}?plain=1",
            f"/conversations/{conversation_id}?before={Cursor(now(), conversation_id)}",
            f"/badges?id={conversation_id}&id={other}",
            "/links",
            "/links?linked=yes",
            f"{form}/customers?q=333",
        ):
            assert client.http.get(path).status_code == 200, path
        assert client.submit(client.get_page(form), form, reason="so it is", create="1").status_code == 303
        client.get_page(form)
        for sender in ("393331234567", "393339999999"):
            ingest_payload(payload(anna.phone_number_id, sender).encode())
    return seen


@on_postgresql
def test_no_statement_of_a_page_a_write_or_ingestion_reads_through_a_table(
    app: Flask, client: Browser, anna: Desk
):
    seen = requests(client, anna)
    assert {name for name, _, _ in seen} == {None, "read", "ingest"}
    asked = {(name, statement): parameters for name, statement, parameters in seen}
    assert len(asked) > 20
    scope = Scope(app_engines(), [anna.instructor_id])
    for (name, statement), parameters in asked.items():
        if without_control([statement]) and not statement.startswith("INSERT"):
            with db.engines[name].connect() as connection:
                connection.exec_driver_sql(scope.setting)
                assert list(read_through(plan(connection, statement, parameters))) == [], statement
