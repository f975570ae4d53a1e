"""How many connections a console opens, as docs/operations.md counts them, also while a reload overlaps."""

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from flask import Flask
from flask.testing import FlaskCliRunner

from console.config import Settings
from testkit.databases import on_postgresql
from testkit.factories import desk
from testkit.postgres import Cluster
from tests.serving.server import SECONDS, Visitor, serve
from tests.serving.test_worker import SECRET, signed

WORKERS, POOL_SIZE, KINDS = 2, 2, 3
PEOPLE = 12
OPEN = "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'console\\_%' AND datname = '{}'"

pytestmark = on_postgresql


def most(count: Callable[[], int], goes_on: Callable[[], bool]) -> int:
    """Return the largest count while something goes on."""
    deadline, found = time.monotonic() + SECONDS, 0
    while goes_on():
        assert time.monotonic() < deadline
        found = max(found, count())
    return found


def test_a_console_opens_no_more_connections_than_it_says_and_twice_that_during_a_reload(
    app: Flask, cli: FlaskCliRunner, settings: Settings, cluster: Cluster, tmp_path: Path
):
    anna = desk(cli)
    body, headers = signed(anna)
    over = Event()
    extra = {
        "CONSOLE_POOL_SIZE": str(POOL_SIZE),
        "CONSOLE_WHATSAPP_APP_SECRET": SECRET,
        "WEB_CONCURRENCY": str(WORKERS),
    }

    def count() -> int:
        return int(cluster.execute(OPEN.format(settings.database_url.database))[0][0])

    def work(cookies: object) -> None:
        with Visitor(console.url, cookies=cookies) as visitor:
            while not over.is_set():
                visitor.post("/webhooks/whatsapp", body, headers=headers)
                visitor.get("/links")
                visitor.get("/readyz")

    ours = count()
    with serve(settings, tmp_path, extra=extra) as console, ThreadPoolExecutor(PEOPLE) as people:
        with Visitor(console.url) as marta:
            marta.sign_in(anna.operator.email, anna.operator.password)
            working = [people.submit(work, marta.session.cookies) for _ in range(PEOPLE)]
        until = time.monotonic() + 3
        usual = most(count, lambda: time.monotonic() < until) - ours
        old = console.workers()
        console.process.send_signal(signal.SIGHUP)
        reloading = most(count, lambda: bool(console.workers() & old)) - ours
        over.set()
        for each in working:
            each.result()
    limit = POOL_SIZE * KINDS * WORKERS
    assert limit / 2 <= usual <= limit
    assert reloading <= 2 * limit
