"""`flask database roles`: applied again, printed, applied to objects of other roles, and refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from flask.testing import FlaskCliRunner
from flask_migrate import downgrade, upgrade
from sqlalchemy import URL

from console import create_app
from console.config import Settings
from testkit import postgres
from testkit.databases import OWNER, POSTGRESQL, as_owner, execute, fresh_copy, settings_for
from testkit.factories import run
from testkit.postgres import Cluster


@pytest.fixture
def engine() -> str:
    """Return the only engine that knows roles."""
    return POSTGRESQL


def privileges(cluster: Cluster, database: str) -> str:
    """Return everything that `roles` sets, as pg_dump writes it."""
    dumped = pg_dump(cluster, database)
    return "\n".join(line for line in dumped.splitlines() if not line.startswith("\\"))


def pg_dump(cluster: Cluster, database: str) -> str:
    address = f"--dbname=host=127.0.0.1 port={cluster.port} user=postgres dbname={database}"
    return postgres.run("pg_dump", "--schema-only", address)


def test_applying_again_changes_nothing(cli: FlaskCliRunner, cluster: Cluster, settings: Settings):
    database = str(settings.database_url.database)
    before = privileges(cluster, database)
    assert "CREATE POLICY" in before
    assert run(cli, "database", "roles", "--apply").startswith("applied ")
    assert privileges(cluster, database) == before


def test_printing_changes_nothing_and_prints_what_is_applied(
    cli: FlaskCliRunner, cluster: Cluster, settings: Settings
):
    database = str(settings.database_url.database)
    execute("GRANT DELETE ON customers TO console_link", "ALTER TABLE customers DISABLE ROW LEVEL SECURITY")
    tampered = privileges(cluster, database)
    printed = run(cli, "database", "roles")
    assert privileges(cluster, database) == tampered
    assert "ALTER TABLE customers ENABLE ROW LEVEL SECURITY;" in printed.splitlines()
    execute(*printed.removesuffix(";").split(";\n"))
    assert "GRANT SELECT,INSERT ON TABLE public.customers TO console_link" in privileges(cluster, database)
    repaired = privileges(cluster, database)
    run(cli, "database", "roles", "--apply")
    assert privileges(cluster, database) == repaired


def test_objects_made_by_the_servers_administrator_become_the_owners(
    cluster: Cluster, migrated_on_server: URL
):
    with fresh_copy(cluster) as url:
        app = create_app(replace(settings_for(url), database_url=url))
        with app.app_context():
            upgrade()
            run(app.test_cli_runner(), "database", "roles", "--apply")
        applied = privileges(cluster, str(url.database))
        owner = create_app(as_owner(settings_for(url)))
        with owner.app_context():
            downgrade(revision="0003_conversation_link")
            upgrade()
        run(owner.test_cli_runner(), "database", "roles", "--apply")
        assert privileges(cluster, str(url.database)) == applied
        owners = cluster.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'", str(url.database)
        )
        assert owners == [(OWNER,)]


def test_no_other_role_gets_into_the_database(cluster: Cluster, migrated_on_server: URL):
    cluster.execute("CREATE ROLE stranger LOGIN")
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        cluster.connect(str(migrated_on_server.database), "stranger")


def test_a_database_without_tables_is_one_line(new_database: Callable[[], URL]):
    owner = create_app(as_owner(settings_for(new_database())))
    result = owner.test_cli_runner().invoke(args=["database", "roles"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: there are no tables yet: flask db upgrade, then this\n"


def test_sqlite_has_no_roles(migrated: Path):
    result = create_app(settings_for(migrated)).test_cli_runner().invoke(args=["database", "roles"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "SQLite knows no roles" in result.stderr


def test_a_command_with_the_address_of_another_role_says_so_and_advises_no_upgrade(settings: Settings):
    result = create_app(settings).test_cli_runner().invoke(args=["instructor", "add", "Anna"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: the database refused: permission denied for table instructors. ")
    assert "Is it the role that docs/operations.md names for this command?" in result.stderr
    assert "upgrade" not in result.stderr
