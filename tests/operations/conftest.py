"""An instructor with a number and an operator."""

import pytest
from flask.testing import FlaskCliRunner

from tests.factories import Desk, desk
from tests.pages import Browser


@pytest.fixture
def anna(cli: FlaskCliRunner) -> Desk:
    """Return an instructor's desk."""
    return desk(cli)


@pytest.fixture
def marta(client: Browser, anna: Desk) -> Browser:
    """Return Anna's operator at a browser."""
    client.sign_in(anna.operator.email, anna.operator.password)
    return client
