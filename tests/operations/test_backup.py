"""Backups: restored beside the original, verified, closed to other users, and whole when they come back."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from flask import Flask

from console.config import ROOT, Settings, sqlite_path
from testkit import postgres
from testkit.databases import execute, on_postgresql
from testkit.factories import Desk
from testkit.postgres import Cluster


def back_up(settings: Settings, directory: Path) -> "subprocess.CompletedProcess[str]":
    """Make a backup as the unit does it."""
    path = sqlite_path(settings.database_url)
    owner = settings.database_url.set(drivername="postgresql", username=postgres.OWNER)
    address = f"sqlite:///{path}" if path else owner.render_as_string()
    command = [sys.executable, str(ROOT / "deploy" / "backup.py"), address, str(directory)]
    environ = {**os.environ, "PATH": f"{postgres.bin_directory()}:{os.environ['PATH']}"}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a directory for backups."""
    made = tmp_path / "backups"
    made.mkdir()
    return made


def test_a_backup_is_restored_verified_and_closed_to_others(
    app: Flask, anna: Desk, settings: Settings, directory: Path
):
    anna.link(anna.conversation("393331234567"))
    done = back_up(settings, directory)
    assert done.returncode == 0, done.stderr
    assert "restored and verified: verified 1 conversation" in done.stdout
    made = sorted(directory.iterdir())
    whole = {".db"} if sqlite_path(settings.database_url) else {".dump", ".roles.sql"}
    assert {"".join(path.suffixes) for path in made} == whole
    assert {path.stat().st_mode & 0o777 for path in made} == {0o600}


def test_a_backup_whose_trail_does_not_explain_its_links_is_refused_and_leaves_no_file(
    app: Flask, anna: Desk, settings: Settings, directory: Path
):
    anna.link(anna.conversation("393331234567"))
    execute("UPDATE conversations SET link_version = 7")
    done = back_up(settings, directory)
    assert done.returncode == 1
    assert "flask failed" in done.stderr
    assert list(directory.iterdir()) == []


def test_older_backups_go_and_other_files_stay(app: Flask, settings: Settings, directory: Path):
    names = ("console-20260101T000000Z.dump", "console-20260101T000000Z.db", "notes.db")
    for name in names:
        (directory / name).touch()
        long_ago = time.time() - 20 * 24 * 3600
        os.utime(directory / name, (long_ago, long_ago))
    assert back_up(settings, directory).returncode == 0
    assert {name for name in names if (directory / name).exists()} == {"notes.db"}


REVOKED = """
    SELECT datname, pg_get_userbyid(datdba), datacl::text,
        has_database_privilege('public', oid, 'CONNECT'), has_schema_privilege('public', 'public', 'USAGE'),
        has_function_privilege('public', 'lo_create(oid)', 'EXECUTE'),
        (SELECT string_agg(format('%s %s', rolname, rolconfig), ',' ORDER BY rolname)
            FROM pg_roles WHERE rolname LIKE 'console\\_%')
    FROM pg_database WHERE datname = current_database()
"""


@on_postgresql
def test_revoked_rights_stay_revoked_after_a_restore_on_a_new_server(
    app: Flask, anna: Desk, settings: Settings, cluster: Cluster, directory: Path
):
    anna.link(anna.conversation("393331234567"))
    name = str(settings.database_url.database)
    cluster.execute(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC')  # as the command for roles does
    assert back_up(settings, directory).returncode == 0
    (dump,), (roles,) = directory.glob("*.dump"), directory.glob("*.roles.sql")
    kept = "\n".join(
        line for line in roles.read_text().splitlines() if not line.endswith(f"ROLE {postgres.OWNER};")
    )
    with postgres.cluster() as other:
        address = f"--dbname={other.url().set(drivername='postgresql').render_as_string()}"
        tools = postgres.bin_directory()
        subprocess.run([tools / "psql", "--quiet", address], input=kept, text=True, check=True)
        subprocess.run([tools / "pg_restore", "--exit-on-error", "--create", address, dump], check=True)
        before, after = cluster.execute(REVOKED, name), other.execute(REVOKED, name)
    assert before == after
    assert before[0][3:6] == (False, False, False)


@pytest.mark.parametrize("address", ["postgresql:///console", "sqlite:////nowhere/console.db"])
def test_a_failing_backup_is_one_line(address: str, tmp_path: Path):
    command = [sys.executable, str(ROOT / "deploy" / "backup.py"), address, str(tmp_path / "away")]
    environ = {"PATH": "/nowhere"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "away").exists()
