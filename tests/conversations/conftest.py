"""An instructor with an operator."""

import pytest
from flask.testing import FlaskCliRunner

from tests.factories import Desk, desk


@pytest.fixture
def anna(cli: FlaskCliRunner) -> Desk:
    """Return an instructor's desk."""
    return desk(cli)
