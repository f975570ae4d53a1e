"""Every kind of visitor, and the data that they may or may not see."""

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from tests.security.visitors import Visitor, World, world


@pytest.fixture
def people(cli: FlaskCliRunner) -> World:
    """Return two instructors with a conversation and a customer each, and who may see one of them."""
    return world(cli)


@pytest.fixture
def operator(app: Flask, people: World) -> Visitor:
    """Return the operator of the first one, Anna, signed in."""
    return people.enter(app, "links it")
