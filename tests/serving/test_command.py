"""Commands in production: deploy/customer-memory runs them with the server's settings and the right role."""

import subprocess
from pathlib import Path

import pytest
from sqlalchemy import URL

from console.config import ROOT, Settings, sqlite_path
from testkit.databases import OWNER, environment

WRAPPER = ROOT / "deploy" / "customer-memory"


@pytest.fixture
def directory(settings: Settings, tmp_path: Path) -> Path:
    """Return a directory with the settings of a server."""
    lines = [
        f"{name}={value}" for name, value in environment(settings).items() if name.startswith("CONSOLE_")
    ]
    (tmp_path / "environment").write_text(
        "\n".join(["# the server's", "", *lines, "CONSOLE_LOG_LEVEL='error'", ""])
    )
    return tmp_path


def run(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command as an operator whose own environment names another database."""
    misleading = {"CONSOLE_DATABASE_URL": f"sqlite:///{directory}/other.db", "CONSOLE_TIME_ZONE": "nonsense"}
    return subprocess.run(
        [WRAPPER, *arguments],
        env={"PATH": "/usr/bin:/bin", "CUSTOMER_MEMORY_SETTINGS": str(directory), **misleading},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def address(url: URL) -> str:
    """Return how a command names a database."""
    return f"database: {sqlite_path(url) or url.render_as_string()}"


def test_a_command_runs_on_the_servers_database(directory: Path, settings: Settings):
    done = run(directory, "audit", "verify")
    assert (done.returncode, done.stderr.splitlines()) == (0, [address(settings.database_url)])
    assert not (directory / "other.db").exists()


def test_a_command_for_the_owner_takes_the_owners_address(directory: Path, settings: Settings, engine: str):
    owner = settings.database_url
    if engine == "postgresql":
        owner = owner.set(username=OWNER)
        refused = run(directory, "user", "list")
        assert refused.returncode == 1
        assert str(directory / "owner") in refused.stderr
        (directory / "owner").write_text(
            f'CONSOLE_DATABASE_URL="{owner.render_as_string(hide_password=False)}"\n'
        )
    assert run(directory, "instructor", "add", "Anna Kofler").returncode == 0
    done = run(directory, "user", "list")
    assert (done.returncode, done.stderr.splitlines()) == (0, [address(owner)])


@pytest.mark.parametrize("line", ["export A=b", "A", "A=b'c'", 'A="b', "A=b\\", "A='b'c", "=b"])
def test_a_line_that_systemd_might_read_otherwise_is_refused(tmp_path: Path, line: str):
    (tmp_path / "environment").write_text(f"CONSOLE_SECRET_KEY=x\n{line}\n")
    done = run(tmp_path, "audit", "verify")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tmp_path / 'environment'}, line 2:" in done.stderr


def test_no_command_runs_without_the_settings_file(tmp_path: Path):
    for content in (None, "CONSOLE_SECRET_KEY=x\n"):
        if content:
            (tmp_path / "environment").write_text(content)
        done = run(tmp_path, "db", "upgrade")
        assert (done.returncode, done.stdout) == (1, "")
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "other.db").exists()


def test_only_an_upgrade_makes_a_database_file_and_says_so(tmp_path: Path):
    file = tmp_path / "new.db"
    (tmp_path / "environment").write_text(f"CONSOLE_SECRET_KEY=x\nCONSOLE_DATABASE_URL=sqlite:///{file}\n")
    assert run(tmp_path, "audit", "verify").returncode == 1
    assert run(tmp_path, "user", "list").returncode == 1
    assert not file.exists()
    done = run(tmp_path, "db", "upgrade")
    assert done.returncode == 0
    assert f"database: {file}" in done.stderr
    assert "this file is new" in done.stderr
