"""An instructor with an operator, and what they do."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from flask.testing import FlaskCliRunner

from testkit.databases import rows
from testkit.factories import Desk

Person = Callable[..., Result]
NUMBER, OTHER = "393331234567", "447700900461"
ERASE = ("--reason", "asked by letter on 3 May", "--yes")


def lines() -> list[tuple[int, str]]:
    """Return the trail as it is stored."""
    return [
        (position, line) for position, line in rows("SELECT position, event FROM audit_events ORDER BY 1")
    ]


def count(table: str) -> int:
    """Count a table's rows."""
    return int(rows(f"SELECT count(*) FROM {table}")[0][0])


def kept() -> list[Any]:
    """Return the kept payloads."""
    return [json.loads(line) for (line,) in rows("SELECT payload FROM rejected_payloads ORDER BY id")]


@pytest.fixture
def person(cli: FlaskCliRunner, anna: Desk) -> Person:
    """Return what runs `flask person` for a person who writes to Anna."""

    def call(command: str, identifier: str, *options: str, stdin: str | None = None) -> Result:
        arguments = ["person", command, identifier, "--instructor", str(anna.instructor_id), *options]
        return cli.invoke(args=arguments, input=stdin)

    return call
