"""`flask database roles`: who may do what in PostgreSQL, and whose rows they see (docs/decisions/0009).

The statements can be run again at any time, without a lock that others would wait for. Run them after each
upgrade: until then no role may use what a migration added. What each role may do is in roles.toml.
"""

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
from sqlalchemy import Connection, inspect

from console.commands import BadUsage, Failure, Group
from console.database import ALL_INSTRUCTORS, Base, db

_READ, _LINK, _INGEST, _OWNER = "console_read", "console_link", "console_ingest", "console_migrate"

_DATA = tomllib.loads(Path(__file__).with_name("roles.toml").read_text("utf-8"))
GRANTS: dict[str, dict[str, dict[str, str]]] = _DATA["grants"]
"""By role and table: privileges, on the columns named or on the whole table (`*`)."""

# console/database sets console.instructors to the instructors whose rows a transaction sees. The
# sub-selects are evaluated once a statement, not once a row; without the setting no row is visible.
_SETTING = "current_setting('console.instructors', true)"
_IS_THEIRS = (
    f"(SELECT {_SETTING} = '{ALL_INSTRUCTORS}') OR instructor_id = ANY"
    f" ((SELECT string_to_array(nullif({_SETTING}, '{ALL_INSTRUCTORS}'), ',')::uuid[])::uuid[])"
)
_POLICIES = {
    "people": (f"{_READ}, {_LINK}", _IS_THEIRS, _DATA["tenants_tables"]),
    "ingestion": (_INGEST, "true", ("conversations", "messages")),
}

database = Group("database", help="The database server's side of the console.")


@database.command("roles")
@click.option("--apply", "apply_", is_flag=True, help="Run the SQL instead of printing it.")
def print_or_apply(apply_: bool) -> None:
    """Print the SQL that gives each part of the console a PostgreSQL role of its own."""
    if db.engine.dialect.name != "postgresql":
        raise BadUsage(
            "SQLite knows no roles: CONSOLE_DATABASE_URL takes a postgresql+psycopg:// address here"
        )
    with db.engine.begin() as connection:
        script = list(statements(connection))
        as_superuser = list(_large_objects(connection))
        if not apply_:
            click.echo("\n".join(f"{statement};" for statement in script + as_superuser))
            return
        if connection.exec_driver_sql("SELECT current_setting('is_superuser')").scalar_one() == "on":
            script += as_superuser
        elif as_superuser:
            missing = "; ".join(as_superuser)
            click.echo(f"Every role may still make large objects. As a superuser: {missing}", err=True)
        for statement in script:
            connection.exec_driver_sql(statement)
    click.echo(f"applied {len(script)} statements")


def statements(connection: Connection) -> Iterator[str]:
    """Give the statements that suit the tables there are, at whatever revision they are."""
    columns = {
        table: {column["name"] for column in found}
        for (_, table), found in inspect(connection).get_multi_columns().items()
        if table in {*Base.metadata.tables, "alembic_version"}
    }
    if not columns:
        raise Failure("there are no tables yet: flask db upgrade, then this")
    yield from _roles(connection)
    yield from _ownership(connection, columns)
    yield from _grants(columns)
    yield from _row_security(connection, columns)


def _roles(connection: Connection) -> Iterator[str]:
    """Make the roles, without a password: the administrator gives them a way to sign in."""
    there = {
        role: set(limits or ())
        for role, limits in connection.exec_driver_sql("SELECT rolname, rolconfig FROM pg_roles")
    }
    for role in (_OWNER, *GRANTS):
        if role not in there:
            yield f"CREATE ROLE {role} LOGIN"
        for name, limit in _DATA["limits"].get(role, {}).items():
            if f"{name}={limit}" not in there.get(role, ()):
                yield f"ALTER ROLE {role} SET {name} = '{limit}'"
    name = connection.exec_driver_sql("SELECT quote_ident(current_database())").scalar_one()
    everyone = ", ".join((_OWNER, *GRANTS))
    yield f"REVOKE ALL ON DATABASE {name} FROM PUBLIC"
    yield f"GRANT CONNECT ON DATABASE {name} TO {everyone}"
    yield "REVOKE ALL ON SCHEMA public FROM PUBLIC"
    yield f"GRANT USAGE ON SCHEMA public TO {everyone}"
    yield f"GRANT CREATE ON SCHEMA public TO {_OWNER}"


def _ownership(connection: Connection, columns: Mapping[str, set[str]]) -> Iterator[str]:
    """Give the owner what another role made, and keep PUBLIC from what the owner will make."""
    tables = connection.exec_driver_sql(
        "SELECT relname FROM pg_class WHERE relname = ANY (%s) AND relnamespace = 'public'::regnamespace"
        " AND relowner IS DISTINCT FROM to_regrole(%s)::oid ORDER BY relname",
        (list(columns), _OWNER),
    )
    yield from (f"ALTER TABLE {table} OWNER TO {_OWNER}" for table in tables.scalars())
    functions = connection.exec_driver_sql(
        "SELECT proname FROM pg_proc WHERE proname = ANY (%s) AND pronamespace = 'public'::regnamespace"
        " AND proowner IS DISTINCT FROM to_regrole(%s)::oid",
        (_DATA["functions"], _OWNER),
    )
    yield from (f"ALTER FUNCTION {function}() OWNER TO {_OWNER}" for function in functions.scalars())
    yield "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC"
    yield f"ALTER DEFAULT PRIVILEGES FOR ROLE {_OWNER} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC"


def _large_objects(connection: Connection) -> Iterator[str]:
    question = "SELECT has_function_privilege('public', %s, 'EXECUTE')"
    for function in _DATA["large_objects"]:
        if connection.exec_driver_sql(question, (function,)).scalar_one():
            yield f"REVOKE EXECUTE ON FUNCTION pg_catalog.{function} FROM PUBLIC"


def _grants(columns: Mapping[str, set[str]]) -> Iterator[str]:
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, {', '.join(GRANTS)}"
    yield f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM PUBLIC, {', '.join(GRANTS)}"
    for role, tables in GRANTS.items():
        for table in (table for table in tables if table in columns):
            for privilege, named in tables[table].items():
                if named == "*":
                    yield f"GRANT {privilege} ON {table} TO {role}"
                elif there := [column for column in named.split(", ") if column in columns[table]]:
                    yield f"GRANT {privilege} ({', '.join(there)}) ON {table} TO {role}"


def _row_security(connection: Connection, columns: Mapping[str, set[str]]) -> Iterator[str]:
    """Make the policies that are missing and drop those of older definitions.

    They do not hold for the owner, nor for checks of foreign keys, which run with the owner's rights.
    """
    secured = set(connection.exec_driver_sql("SELECT relname FROM pg_class WHERE relrowsecurity").scalars())
    there = {
        (table, policy)
        for table, policy in connection.exec_driver_sql("SELECT tablename, policyname FROM pg_policies")
    }
    wanted = dict(_policies(columns))
    for table in sorted({table for table, _ in wanted} - secured):
        yield f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
    for (table, policy), definition in wanted.items():
        if (table, policy) not in there:
            yield f"CREATE POLICY {policy} ON {table} {definition}"
    for table, policy in sorted(there - wanted.keys()):
        yield f"DROP POLICY {policy} ON {table}"


def _policies(columns: Mapping[str, set[str]]) -> Iterator[tuple[tuple[str, str], str]]:
    """Give each policy's table, name and definition. The name changes with the definition."""
    for kind, (roles, condition, tables) in _POLICIES.items():
        definition = f"TO {roles} USING ({condition}) WITH CHECK ({condition})"
        name = f"{kind}_{hashlib.sha256(definition.encode()).hexdigest()[:8]}"
        for table in tables:
            if table in columns:
                yield (table, name), definition
