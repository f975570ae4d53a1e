"""A Citus that would lose a guarantee in silence is refused. A table stands in for its catalog."""

import subprocess
import sys

import pytest
from flask import Flask

from console.config import ROOT, Settings
from console.operations.health import lost_guarantee
from testkit.databases import POSTGRESQL, environment, execute
from testkit.pages import Browser
from testkit.postgres import Cluster

REFERENCE = ("instructors", "users", "memberships", "channel_accounts", "link_operations")
DISTRIBUTED = ("conversations", "messages", "customers", "rejected_payloads")


@pytest.fixture
def engine() -> str:
    """Run on the one engine that Citus distributes."""
    return POSTGRESQL


@pytest.fixture
def citus(app: Flask, cluster: Cluster, settings: Settings) -> None:
    """Say that the tables are distributed as they should be."""
    rows = [f"('{table}', 'reference', NULL)" for table in REFERENCE]
    rows += [f"('{table}', 'distributed', 'instructor_id')" for table in DISTRIBUTED]
    execute(
        "CREATE TABLE citus_tables (table_name regclass, citus_table_type text, distribution_column text)",
        f"INSERT INTO citus_tables VALUES {', '.join(rows)}",
        "GRANT SELECT ON citus_tables TO console_link, console_read, console_ingest",
    )
    cluster.execute(
        f"ALTER DATABASE {settings.database_url.database} SET citus.propagate_set_commands = 'local'"
    )


def test_tables_distributed_as_they_should_be_are_taken(app: Flask, citus: None):
    assert lost_guarantee(app) is None


def test_a_database_without_citus_is_taken(app: Flask):
    assert lost_guarantee(app) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("INSERT INTO citus_tables VALUES ('audit_events', 'distributed', 'instructor_id')", "have gaps"),
        ("INSERT INTO citus_tables VALUES ('audit_counter', 'reference', NULL)", "have gaps"),
        ("DELETE FROM citus_tables WHERE table_name::text = 'link_operations'", "commit as one"),
        (
            "UPDATE citus_tables SET distribution_column = 'id' WHERE table_name::text = 'messages'",
            "its keys",
        ),
        ("DELETE FROM citus_tables WHERE table_name::text = 'customers'", "its keys"),
    ],
)
def test_a_lost_guarantee_is_named_in_one_line(
    app: Flask, client: Browser, citus: None, change: str, said: str
):
    execute(change)
    lost = lost_guarantee(app)
    assert lost
    assert said in lost
    assert "\n" not in lost
    ready = client.http.get("/readyz")
    assert ready.status_code == 503
    assert said in ready.text


def test_settings_that_do_not_reach_the_workers_are_told(
    app: Flask, citus: None, cluster: Cluster, settings: Settings
):
    cluster.execute(f"ALTER DATABASE {settings.database_url.database} RESET citus.propagate_set_commands")
    lost = lost_guarantee(app)
    assert lost
    assert "row security would not reach the workers" in lost


def test_the_server_does_not_start_with_it(app: Flask, settings: Settings, citus: None):
    execute("DELETE FROM citus_tables WHERE table_name::text = 'link_operations'")
    command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--workers", "1", "app:app"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(settings), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 4
    assert "link_operations is no reference table" in done.stderr
