"""Parts of statements that the two engines write differently."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    Executable,
    FromClause,
    String,
    UnaryExpression,
    bindparam,
    case,
    cast,
    column,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.operators import custom_op
from sqlalchemy.types import TypeEngine

from console.database.types import Base

# SQLAlchemy keeps the number of rows that an INSERT inserted only when asked.
_COUNTED = {"preserve_rowcount": True}


def insert_ignoring(
    connection: Connection, table: type[Base], rows: Sequence[Mapping[str, Any]], conflict: Sequence[str]
) -> CursorResult[Any]:
    """Insert `rows`, except those whose `conflict` columns are in the table already."""
    return connection.execute(_insert_ignoring(connection.dialect.name, table, tuple(conflict)), list(rows))


@cache
def _insert_ignoring(dialect: str, table: type[Base], conflict: tuple[str, ...]) -> Executable:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing(index_elements=list(conflict)).execution_options(**_COUNTED)


def json_append(
    dialect: str, array: InstrumentedAttribute[Any], item: ColumnElement[str]
) -> ColumnElement[Any]:
    """Return the JSON array in a column with one item, a JSON text, added at its end.

    Whatever else the column holds becomes the array's first item, as a string where it is no JSON at all.
    """
    if dialect == "postgresql":
        empty, added = literal("[]"), func.jsonb_build_array(cast(item, postgresql.JSONB))
        return func.coalesce(array, cast(empty, postgresql.JSONB)).op("||")(added)
    kept = case(
        (array.is_(None), literal("[]", String())),
        (func.json_valid(array) == 0, func.json_array(cast(array, String))),
        (func.json_type(array) == "array", array),
        else_=func.json_array(func.json(array)),
    )
    return func.json_insert(kept, "$[#]", func.json(item))


def json_text(
    connection: Connection, array: InstrumentedAttribute[Any], place: int, key: str
) -> ColumnElement[str]:
    """Return what an object in a column's JSON array has under a key; NULL where there is no such thing."""
    item = array if connection.dialect.name == "postgresql" else case((func.json_valid(array), array))
    member = item.op("->", return_type=String())(literal_column(str(place)))
    return member.op("->>", return_type=String())(literal_column(f"'{key}'"))


def among(column: ColumnElement[Any], name: str, count: int) -> ColumnElement[bool]:
    """Return the condition that a column holds one of `count` values, which `numbered` names.

    SQLAlchemy would expand an ordinary IN at every run, which costs as much as all its other preparation.
    """
    return column.in_([bindparam(f"{name}_{place}", type_=column.type) for place in range(count)])


def numbered(name: str, values: Iterable[Any]) -> dict[str, Any]:
    """Name the values of an `among`."""
    return {f"{name}_{place}": value for place, value in enumerate(values)}


def not_searched(dialect: str, column: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    """Return a column for a condition for which SQLite searches no index: it keeps no statistics.

    PostgreSQL has statistics, and leaves out partitions by such a condition.
    """
    if dialect == "postgresql":
        return column.expression
    return UnaryExpression(column.expression, operator=custom_op("+"), type_=column.type)


def json_rows(dialect: str, *types: TypeEngine[Any]) -> tuple[FromClause, Sequence[ColumnElement[Any]]]:
    """Return a table that a statement is given as its one parameter `rows`, and its columns.

    The parameter is a JSON array of arrays, so the statement is the same for any number of rows.
    """
    json_type = postgresql.JSONB() if dialect == "postgresql" else String()
    each = func.jsonb_array_elements if dialect == "postgresql" else func.json_each
    rows = cast(bindparam("rows", type_=String()), json_type)
    table = each(rows).table_valued(column("value", json_type), name="given")
    texts = [
        table.c.value.op("->>", return_type=String())(literal_column(str(place)))
        for place in range(len(types))
    ]
    columns = [
        text if isinstance(kind, String) else cast(text, kind)
        for text, kind in zip(texts, types, strict=True)
    ]
    if dialect != "postgresql":
        return table, columns
    # Behind row-level security PostgreSQL searches no index for a value that it still has to compute.
    computed = select(*(column.label(f"column_{place}") for place, column in enumerate(columns)))
    given = computed.select_from(table).cte("computed").prefix_with("MATERIALIZED")
    return given, list(given.c)
