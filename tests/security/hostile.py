"""Hostile SQL: what an attacker who holds one of the console's roles would send to PostgreSQL.

Most statements follow from the server's catalogs, so that an object which a migration adds is attacked as
well; the forms are in hostile.sql. PostgreSQL lets any role send a statement that `may_run`: it must have no
effect and show nothing of another instructor's. Every other statement must be refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import psycopg

from tests.test_roles import allowed, attempts

ROLES = ("console_read", "console_link", "console_ingest")
TENANTS_TABLES = ("conversations", "messages", "customers", "audit_events", "link_operations")
WITHOUT_EFFECT = " without effect"


@dataclass(frozen=True)
class Attack:
    """One statement, the kind of attack it belongs to, and whether it may run without effect."""

    kind: str
    statement: str
    may_run: bool = False


@dataclass(frozen=True)
class Target:
    """What is attacked: the role, a superuser's connection for the catalogs, and the ids of rows.

    `rows` has another instructor's row by the name of its table, and the role's own by own_ and that name.
    """

    role: str
    catalogs: "psycopg.Connection[Any]"
    rows: dict[str, str]

    def find(self, query: str) -> list[Any]:
        """Return what a superuser finds."""
        return self.catalogs.execute(query.encode()).fetchall()

    def forms(self, section: str, **names: str) -> Iterator[Attack]:
        """Give the statements of a section of hostile.sql, and those of its part without effect."""
        known = {"me": self.role, "d": self.catalogs.info.dbname, **self.rows, **names}
        for name in (section, section + WITHOUT_EFFECT):
            for form in _SECTIONS.get(name, ()):
                yield Attack(section, Template(form).substitute(known), name != section)


def _sections() -> dict[str, list[str]]:
    text = Path(__file__).with_name("hostile.sql").read_text()
    return {head: body.split("\n") for head, body in re.findall(r"^-- (.+)\n((?:[^-\n].*\n?)+)", text, re.M)}


_SECTIONS = {head: [line for line in lines if line] for head, lines in _sections().items()}


def attacks(target: Target) -> Iterator[Attack]:
    """Give every attack for a role."""
    rights = allowed(target.role)
    yield from (Attack("columns", statement) for access, statement in attempts() if access not in rights)
    for (table,) in target.find("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"):
        yield from target.forms("tables", t=table)
    yield from objects(target)
    yield from system_catalogs(target)
    yield from (Attack("functions", *call) for call in target.find(FUNCTIONS.format(role=target.role)))
    yield from target.forms("functions", backend=str(target.catalogs.info.backend_pid))
    yield from settings(target)
    yield from roles(target)
    yield from target.forms("creation")
    for (name,) in target.find(EXTENSIONS):
        yield Attack("creation", f'CREATE EXTENSION "{name}"')
    # Ingestion reads the conversations and messages of every instructor.
    for access, table, column in sorted(rights) if target.role != "console_ingest" else ():
        if access == "select" and table in TENANTS_TABLES:
            yield from target.forms("reads", t=table, c=column)
    yield from target.forms("writes")


OF_FUNCTION = "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
OF_INDEX = "SELECT indexname FROM pg_indexes WHERE schemaname = 'public'"
OF_POLICY = "SELECT format('%I ON %I', policyname, tablename) FROM pg_policies"
OF_TRIGGER = "SELECT format('%I ON %s', tgname, tgrelid::regclass) FROM pg_trigger"
OF_CONSTRAINT = (
    "SELECT format('%s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace"
)
OF_COLUMN = (
    "SELECT format('%s DROP COLUMN %I', attrelid::regclass, attname) FROM pg_attribute"
    " JOIN pg_tables ON schemaname = 'public' AND attrelid = to_regclass(tablename) WHERE attnum > 0"
)
OBJECTS = (
    ("DROP INDEX {}", OF_INDEX),
    ("ALTER INDEX {} RENAME TO stolen", OF_INDEX),
    ("DROP FUNCTION {} CASCADE", OF_FUNCTION),
    ("ALTER FUNCTION {} SECURITY DEFINER", OF_FUNCTION),
    ("CREATE OR REPLACE FUNCTION {} RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'", OF_FUNCTION),
    ("DROP POLICY {}", OF_POLICY),
    ("ALTER POLICY {} USING (true)", OF_POLICY),
    ("DROP TRIGGER {}", OF_TRIGGER),
    ("ALTER TABLE {}", OF_CONSTRAINT),
    ("ALTER TABLE {}", OF_COLUMN),
    ("DROP EXTENSION {} CASCADE", "SELECT extname FROM pg_extension"),
    ("DROP LANGUAGE {} CASCADE", "SELECT lanname FROM pg_language WHERE lanpltrusted"),
)


def objects(target: Target) -> Iterator[Attack]:
    """Give what would remove or replace a guard."""
    for form, query in OBJECTS:
        yield from (Attack("objects", form.format(name)) for (name,) in target.find(query))


CATALOGS = """
    SELECT c.relname, quote_ident(attname) FROM pg_class c JOIN pg_attribute ON attrelid = c.oid
    WHERE attnum = 1 AND relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' ORDER BY 1
"""
SECRET_CATALOGS = """
    SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace
    AND relkind IN ('r', 'v') AND NOT has_any_column_privilege('{role}', oid, 'SELECT')
"""


def system_catalogs(target: Target) -> Iterator[Attack]:
    """Give changes to every system catalog, and reads of those that hold secrets."""
    for catalog, column in target.find(CATALOGS):
        yield from target.forms("catalogs", t=catalog, c=column)
    for (catalog,) in target.find(SECRET_CATALOGS.format(role=target.role)):
        yield Attack("catalogs", f"SELECT * FROM pg_catalog.{catalog}")


# The arguments come from a sub-select: PostgreSQL answers NULL for a constant NULL before it looks at rights.
FUNCTIONS = """
    SELECT format('SELECT %s(%s) FROM (SELECT %s OFFSET 0) AS x', p.oid::regproc, names, nulls)
    FROM pg_proc AS p, LATERAL (
        SELECT coalesce(string_agg('a' || place, ', ' ORDER BY place), ''),
            coalesce(string_agg(format('NULL::%s AS a%s', format_type(t, NULL), place), ', '), '1'),
            coalesce(bool_or(typtype = 'p'), false)
        FROM unnest(proargtypes::oid[]) WITH ORDINALITY AS given (t, place) JOIN pg_type ON oid = t
    ) AS arguments (names, nulls, pseudo)
    WHERE prokind = 'f' AND NOT pseudo AND NOT has_function_privilege('{role}', p.oid, 'EXECUTE')
"""
EXTENSIONS = """
    SELECT DISTINCT name FROM pg_available_extension_versions WHERE requires IS NULL AND NOT installed
"""


def settings(target: Target) -> Iterator[Attack]:
    """Give settings of the server that a role may not change, for itself, others or all."""
    yield from target.forms("settings")
    query = "SELECT quote_ident(name), context, quote_literal(coalesce(reset_val, '')) FROM pg_settings"
    for name, context, value in target.find(query):
        yield Attack("settings", f"ALTER SYSTEM SET {name} = {value}")
        if context == "user":
            yield Attack("settings", f"ALTER DATABASE {target.catalogs.info.dbname} SET {name} = {value}")
            yield Attack("settings", f"ALTER ROLE console_migrate SET {name} = {value}")
        else:
            yield Attack("settings", f"SET {name} = {value}")


def roles(target: Target) -> Iterator[Attack]:
    """Give ways to become, change or remove another role, and to become more than one is."""
    others = f"SELECT rolname FROM pg_roles WHERE rolname NOT IN ('{target.role}', 'pg_database_owner')"
    for (other,) in target.find(others):
        yield from target.forms("other roles", r=other)
        if not other.startswith("pg_"):  # which PostgreSQL lets no role change
            yield from target.forms("other roles of ours", r=other)
    yield from target.forms("itself")
