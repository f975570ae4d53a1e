"""The app on a database of its own for each test, on either engine: migrated once and copied."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskCliRunner
from flask_migrate import upgrade
from hypothesis import HealthCheck
from hypothesis import settings as effort
from jinja2 import FileSystemBytecodeCache
from sqlalchemy import URL

from console import accounts, create_app
from console.config import Settings
from console.database import db
from testkit import citus, postgres
from testkit.databases import (
    ENGINES,
    OWNER,
    PARTITION,
    PARTITIONED,
    SQLITE,
    as_owner,
    fresh_copy,
    hanging_up,
    settings_for,
)
from testkit.factories import Desk, desk, run
from testkit.pages import Browser

__all__ = ["settings_for"]

# A busy machine makes examples slow, and all examples of a test share its database: neither is a fault.
SUPPRESSED = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)
effort.register_profile("console", deadline=None, suppress_health_check=SUPPRESSED)
effort.load_profile("console")


@pytest.fixture(scope="session", autouse=True)
def cheap_hashes() -> Iterator[None]:
    """Hash passwords with the least that Argon2id takes: at full price it is a third of the suite's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts.service, "hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> FileSystemBytecodeCache:
    """Return where templates are kept compiled, from one app to the next."""
    return FileSystemBytecodeCache(str(tmp_path_factory.mktemp("compiled")))


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrate one database file, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "console.db"
    with create_app(settings_for(path)).app_context():
        upgrade()
        db.engine.dispose()  # the last connection to close writes everything into the file
    return path


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    """Return a running PostgreSQL."""
    with citus.cluster() if citus.INSTALLED else postgres.cluster() as running:
        yield running


@pytest.fixture(scope="session")
def migrated_on_server(cluster: postgres.Cluster) -> URL:
    """Migrate one PostgreSQL database and give it its roles, to be copied."""
    cluster.execute(f"CREATE ROLE {OWNER} LOGIN CREATEROLE")
    url = cluster.create_database(owner=OWNER)
    owner = as_owner(settings_for(url))
    superuser = replace(owner, database_url=url.set(username=postgres.OWNER))
    with hanging_up():
        with create_app(owner).app_context():
            upgrade()
        if PARTITIONED:
            cluster.execute(PARTITION.read_text(), url.database or "")
        if isinstance(cluster, citus.Coordinator):
            cluster.distribute(url)
        app = create_app(superuser)
        with app.app_context():
            run(app.test_cli_runner(), "database", "roles", "--apply")
    return url


@pytest.fixture(scope="session")
def partitioned_on_server(cluster: postgres.Cluster, migrated_on_server: URL) -> URL:
    """Partition the tables of such a database, to be copied."""
    if PARTITIONED:
        return migrated_on_server
    url = cluster.create_database(migrated_on_server, owner=OWNER)
    cluster.execute(PARTITION.read_text(), url.database or "")
    with hanging_up():
        app = create_app(settings_for(url, database_url=url.set(username=postgres.OWNER)))
        with app.app_context():
            run(app.test_cli_runner(), "database", "roles", "--apply")
    return url


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Return the engine that the test's database is on."""
    name: str = request.param
    return name


@pytest.fixture
def settings(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Return the settings of a console on a fresh, migrated database."""
    if engine == SQLITE:
        migrated: Path = request.getfixturevalue("migrated")
        yield settings_for(Path(shutil.copy(migrated, tmp_path / "console.db")))
        return
    template: URL = request.getfixturevalue("migrated_on_server")
    with fresh_copy(request.getfixturevalue("cluster"), template) as url:
        yield settings_for(url)


@pytest.fixture
def new_database(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[], Path | URL]]:
    """Return what makes a database without tables, and says where."""
    if engine == SQLITE:
        yield lambda: tmp_path / f"{uuid4().hex}.db"
        return
    request.getfixturevalue("migrated_on_server")  # which makes the roles
    cluster: postgres.Cluster = request.getfixturevalue("cluster")
    made: list[URL] = []

    def make() -> URL:
        made.append(cluster.create_database(owner=OWNER))
        return made[-1]

    with hanging_up():
        yield make
    for url in made:
        cluster.drop_database(url)


@pytest.fixture
def app(settings: Settings, compiled: FileSystemBytecodeCache) -> Iterator[Flask]:
    """Return the console."""
    app = create_app(settings)
    app.jinja_env.bytecode_cache = compiled
    with app.app_context():
        yield app


@pytest.fixture
def client(app: Flask) -> Browser:
    """Return a browser, signed out."""
    return Browser(app)


@pytest.fixture
def anna(cli: FlaskCliRunner) -> Desk:
    """Return an instructor's desk: Anna, her channel account and her operator."""
    return desk(cli)


@pytest.fixture
def bruno(cli: FlaskCliRunner) -> Desk:
    """Return another instructor's desk."""
    return desk(cli, "Bruno Pichler")


@pytest.fixture
def marta(client: Browser, anna: Desk) -> Browser:
    """Return Anna's operator at a browser, signed in."""
    client.sign_in(anna.operator.email, anna.operator.password)
    return client


@pytest.fixture
def cli(app: Flask, settings: Settings) -> FlaskCliRunner:
    """Return a runner for `flask` commands, as the console's owner runs them."""
    owner = as_owner(settings)
    return (app if owner == settings else create_app(owner)).test_cli_runner()
