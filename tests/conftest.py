"""The app on a database of its own for each test, migrated once and copied."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from flask_migrate import upgrade

from console import create_app
from console.config import Settings, database_url, read_only
from console.database import db
from tests.pages import Browser


def settings_for(path: Path, **changes: object) -> Settings:
    """Return the settings of a console on one SQLite file, with the badge on."""
    url = database_url(f"sqlite:///{path}")
    values: dict[str, object] = {
        "database_url": url,
        "read_database_url": read_only(url),
        "ingest_database_url": url,
        "secret_key": "a secret of the tests alone",
        "customer_badge": True,
        **changes,
    }
    return Settings(**values)  # type: ignore[arg-type]  # the values are checked by what uses them


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrate one database file, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "console.db"
    with create_app(settings_for(path)).app_context():
        upgrade()
        db.engine.dispose()  # the last connection to close writes everything into the file
    return path


@pytest.fixture
def settings(migrated: Path, tmp_path: Path) -> Settings:
    """Return the settings of a console on a fresh, migrated database."""
    return settings_for(Path(shutil.copy(migrated, tmp_path / "console.db")))


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    """Return the console."""
    app = create_app(settings)
    with app.app_context():
        yield app


@pytest.fixture
def client(app: Flask) -> Browser:
    """Return somebody at a browser, signed out."""
    return Browser(app)


@pytest.fixture
def cli(app: Flask) -> FlaskCliRunner:
    """Return a runner for `flask` commands."""
    return app.test_cli_runner()
