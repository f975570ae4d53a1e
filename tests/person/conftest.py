"""An instructor with an operator, and what they do."""

from collections.abc import Callable

import pytest
from click.testing import Result
from flask.testing import FlaskCliRunner

from testkit.factories import Desk

Person = Callable[..., Result]


@pytest.fixture
def person(cli: FlaskCliRunner, anna: Desk) -> Person:
    """Return what runs `flask person` for a person who writes to Anna."""

    def call(command: str, identifier: str, *options: str, stdin: str | None = None) -> Result:
        arguments = ["person", command, identifier, "--instructor", str(anna.instructor_id), *options]
        return cli.invoke(args=arguments, input=stdin)

    return call
