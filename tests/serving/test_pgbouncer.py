"""The console behind a real PgBouncer in transaction mode, which gives each transaction another session."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from console import create_app
from console.config import ROOT, Settings
from console.database import db
from testkit.databases import on_postgresql, settings_for
from testkit.factories import desk, link_state
from testkit.postgres import Cluster
from tests.serving.server import SECONDS, Visitor, free_port, serve

pytestmark = on_postgresql

UNPACKED = ROOT / "instance" / "pgbouncer" / "usr"

# Two sessions for all, so that the next transaction is often another one's session.
CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={cluster}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = trust
auth_file = {directory}/users
pool_mode = transaction
default_pool_size = 2
min_pool_size = 2
server_round_robin = 1
max_client_conn = 200
unix_socket_dir =
logfile = {directory}/log
pidfile = {directory}/pid
"""


@pytest.fixture
def pooler(cluster: Cluster) -> Iterator[int]:
    """Return the port of a PgBouncer in front of the server."""
    found = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin") or shutil.which(
        str(UNPACKED / "sbin" / "pgbouncer")
    )
    if not found:
        pytest.skip("there is no pgbouncer: python3 scripts/bootstrap.py test")
    # Not pytest's: its directories are closed to other users.
    directory, port = Path(tempfile.mkdtemp(prefix="console-pgbouncer-")), free_port()
    roles = ("console_link", "console_read", "console_ingest", "console_migrate", "postgres")
    (directory / "users").write_text("".join(f'"{role}" ""\n' for role in roles))
    file = directory / "pgbouncer.ini"
    file.write_text(CONFIGURATION.format(cluster=cluster.port, port=port, directory=directory))
    command = [found, str(file)]
    if os.geteuid() == 0:  # it refuses to be root
        nobody = pwd.getpwnam("nobody")
        for path in (directory, *directory.iterdir()):
            path.chmod(0o755)
        os.chown(directory, nobody.pw_uid, nobody.pw_gid)
        command[1:1] = ["--user=nobody"]
    libraries = ":".join(str(path) for path in UNPACKED.glob("lib/*-linux-gnu"))
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
    )
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres").close()
                break
            log = directory / "log"
            assert process.poll() is None, log.exists() and log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(SECONDS)
        shutil.rmtree(directory)


def test_people_read_and_link_through_it(
    app: Flask, cli: FlaskCliRunner, settings: Settings, pooler: int, tmp_path: Path
):
    anna = desk(cli)
    conversations = [anna.conversation(f"39333123{number:04}") for number in range(16)]
    through = settings_for(settings.database_url.set(port=pooler))
    extra = {"CONSOLE_PREPARED_STATEMENTS": "false", "CONSOLE_POOL_SIZE": "3", "WEB_CONCURRENCY": "1"}
    with serve(through, tmp_path, extra=extra) as console:

        def work(place: int) -> list[int]:
            statuses = []
            path = f"/links/{conversations[place]}"
            with Visitor(console.url, cookies=marta.session.cookies) as visitor:
                for _ in range(12):
                    statuses += [visitor.get(page).status_code for page in ("/conversations", path)]
                made = visitor.submit(path, path, create="1", customer_id="", reason="said so")
            return [*statuses, made.status_code]

        with Visitor(console.url) as marta, ThreadPoolExecutor(8) as people:
            marta.sign_in(anna.operator.email, anna.operator.password)
            answers = [status for person in people.map(work, range(16)) for status in person]
        with Visitor(console.url) as visitor:
            assert visitor.get("/readyz").status_code == 200
    assert {status: answers.count(status) for status in answers} == {200: 16 * 24, 303: 16}
    assert [link_state(conversation).link_version for conversation in conversations] == [1] * 16


@pytest.mark.parametrize(("prepared", "threshold"), [(True, 5), (False, None)])
def test_the_pool_and_prepared_statements_are_as_they_are_set(
    settings: Settings, prepared: bool, threshold: int | None
):
    app = create_app(replace(settings, pool_size=2, prepared_statements=prepared))
    with app.app_context():
        for engine in db.engines.values():
            with engine.connect() as first, engine.connect():
                driver = first.connection.driver_connection
                assert driver
                assert driver.prepare_threshold == threshold
                assert (engine.pool.checkedout(), engine.pool.overflow()) == (2, 0)  # type: ignore[attr-defined]
            engine.dispose()
