"""Starting, reloading and stopping gunicorn as it ships: no request that reached it is lost."""

import contextlib
import http.client
import json
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from hmac import new as hmac
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from console.config import Settings
from testkit.databases import locked, on_sqlite, rows
from testkit.factories import Desk, payload
from tests.serving.crowd import crowd
from tests.serving.server import SECONDS, Console, Visitor, serve, start

SECRET = "of the tests alone"
WITH_WEBHOOK = {"CONSOLE_WHATSAPP_APP_SECRET": SECRET}

pytestmark = on_sqlite


def message(anna: Desk) -> tuple[str, bytes, dict[str, str]]:
    """Return a new message as WhatsApp sends it."""
    body = payload(anna.phone_number_id, "393331234567", external_id=f"wamid.{uuid4().hex}").encode()
    signature = hmac(SECRET.encode(), body, sha256).hexdigest()
    return "/webhooks/whatsapp", body, {"X-Hub-Signature-256": f"sha256={signature}"}


def stored() -> int:
    """Return how many messages are stored."""
    return int(rows("SELECT count(*) FROM messages")[0][0])


def wait_for_new_workers(console: Console, old: set[int]) -> None:
    """Wait until none of these workers is left and the new ones answer."""
    deadline = time.monotonic() + SECONDS
    while console.workers() & old or len(console.workers()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    console.wait_until_up()


def test_a_reload_loses_no_request(anna: Desk, settings: Settings, tmp_path: Path):
    with serve(settings, tmp_path, extra=WITH_WEBHOOK) as console:
        with crowd(console.port, body=lambda: message(anna)) as asking, crowd(console.port) as reading:
            for _ in range(2):
                old = console.workers()
                console.process.send_signal(signal.SIGHUP)
                wait_for_new_workers(console, old)
        assert console.stop() == 0
    assert asking.failures() == reading.failures() == []
    assert asking.asked
    assert reading.asked
    assert stored() == len(asking.asked)


def test_a_reload_keeps_answering_while_new_workers_load(settings: Settings, tmp_path: Path):
    with serve(settings, tmp_path, app="tests.serving.slow:app") as console:
        for _ in range(2):
            old, longest = console.workers(), 0.0
            console.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + SECONDS
            while console.workers() & old:
                assert time.monotonic() < deadline
                begun = time.monotonic()
                with Visitor(console.url) as visitor:
                    assert visitor.get("/login").status_code == 200
                longest = max(longest, time.monotonic() - begun)
            assert longest < 2  # the new ones take four seconds more than usual
            assert len(console.workers()) == 2


@contextlib.contextmanager
def loading(settings: Settings, directory: Path) -> Iterator[Console]:
    """Start a console that takes four seconds to load, and wait until it answers /healthz."""
    console = start(settings, directory, app="tests.serving.slow:app")
    try:
        deadline, healthy = time.monotonic() + SECONDS, False
        while not healthy:
            assert time.monotonic() < deadline
            with contextlib.suppress(requests.ConnectionError):
                healthy = requests.get(f"{console.url}/healthz", timeout=SECONDS).ok
        assert "loaded" not in console.log.read_text()
        yield console
    finally:
        console.process.kill()
        console.process.wait()


@pytest.mark.parametrize("stops", [False, True], ids=["goes on", "is stopped"])
def test_health_is_answered_while_the_console_loads_and_other_requests_wait(
    settings: Settings, tmp_path: Path, *, stops: bool
):
    # More than there are threads of either kind.
    paths = ["/login", "/metrics", "/healthz/"] * 6
    with (
        loading(settings, tmp_path) as console,
        Visitor(console.url) as visitor,
        ThreadPoolExecutor(len(paths)) as pool,
    ):
        sent = [pool.submit(visitor.get, path) for path in paths]
        time.sleep(0.5)
        with Visitor(console.url) as another:
            answer = another.get("/healthz")
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "<h1>Up</h1>" in answer.text
        assert "loaded" not in console.log.read_text()
        assert not any(request.done() for request in sent)
        if stops:
            console.process.terminate()
        assert [request.result().status_code for request in sent] == [200, 200, 404] * 6
        if stops:
            assert console.process.wait(SECONDS) == 0


def test_a_stop_does_not_wait_until_a_console_that_no_request_waits_for_has_loaded(
    settings: Settings, tmp_path: Path
):
    with loading(settings, tmp_path) as console:
        assert console.stop() == 0
        assert "loaded" not in console.log.read_text()


def test_a_server_that_replaces_another_takes_no_request_before_it_has_loaded(
    settings: Settings, tmp_path: Path
):
    how = {"app": "tests.serving.slow:app", "extra": {"WEB_CONCURRENCY": "1"}}
    with serve(settings, tmp_path, **how) as console:
        old, longest = console.workers(), 0.0
        console.process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + SECONDS
        try:
            while console.log.read_text().count("loaded\n") < 2:
                assert time.monotonic() < deadline
                begun = time.monotonic()
                with Visitor(console.url) as visitor:
                    assert visitor.get("/login").status_code == 200
                longest = max(longest, time.monotonic() - begun)
        finally:
            for successor in console.workers() - old:
                os.kill(successor, signal.SIGTERM)
    assert longest < 2


def test_workers_load_by_turns_so_that_the_first_answers_sooner(settings: Settings, tmp_path: Path):
    with serve(settings, tmp_path, app="tests.serving.slow:app") as console:
        deadline = time.monotonic() + SECONDS
        while console.log.read_text().count("loaded\n") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        said = [line for line in console.log.read_text().splitlines() if line.startswith("load")]
        assert said == ["loads", "loaded", "loads", "loaded"]


def test_a_stop_does_not_wait_until_the_interpreter_has_freed_everything(settings: Settings, tmp_path: Path):
    with serve(settings, tmp_path, app="tests.serving.slow:app") as console:
        begun = time.monotonic()
        assert console.stop() == 0
        assert time.monotonic() - begun < 2


def test_a_stop_answers_all_that_reached_the_server_and_refuses_the_rest(
    anna: Desk, settings: Settings, tmp_path: Path
):
    with (
        serve(settings, tmp_path, extra=WITH_WEBHOOK) as console,
        crowd(console.port, 8, body=lambda: message(anna)) as asking,
    ):
        while len(asking.asked) < 40:
            time.sleep(0.01)
        stopped_at = time.monotonic()
        assert console.stop() == 0
        time.sleep(0.1)
    assert asking.failures(before=stopped_at) == []
    assert asking.failures()
    answered = [answer for answer in asking.asked if answer.status]
    assert {answer.status for answer in answered} == {200}
    assert stored() == len(answered)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_requests_in_the_middle_of_their_work_are_finished(
    anna: Desk, settings: Settings, tmp_path: Path, how: signal.Signals
):
    with serve(settings, tmp_path, extra=WITH_WEBHOOK) as console, Visitor(console.url) as visitor:
        # More than there are threads, so that some wait for one.
        with ThreadPoolExecutor(24) as pool, locked(settings):
            sent = [
                pool.submit(visitor.post, path, body, headers=headers)
                for path, body, headers in [message(anna) for _ in range(24)]
            ]
            time.sleep(1)
            os.kill(console.process.pid, how)
            time.sleep(1)
            assert not any(request.done() for request in sent)
        assert [request.result().status_code for request in sent] == [200] * 24
    assert stored() == 24


def test_a_connection_made_before_the_stop_and_used_after_it_is_answered_and_closed(
    settings: Settings, tmp_path: Path
):
    with serve(settings, tmp_path) as console:
        kept = http.client.HTTPConnection("127.0.0.1", console.port, timeout=SECONDS)
        new = socket.create_connection(("127.0.0.1", console.port), timeout=SECONDS)
        with contextlib.closing(kept), new:
            kept.request("GET", "/healthz")
            kept.getresponse().read()
            stopping = threading.Thread(target=console.stop)
            stopping.start()
            time.sleep(0.5)
            new.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"Connection: close" in new.recv(65536)
            kept.request("GET", "/healthz")
            with kept.getresponse() as response:
                assert response.status == 200
                assert response.headers["Connection"] == "close"
            stopping.join()


def test_connections_that_no_worker_has_accepted_yet_are_answered_before_the_stop(
    settings: Settings, tmp_path: Path
):
    with serve(settings, tmp_path) as console, contextlib.ExitStack() as connections:
        workers = console.workers()
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        waiting = []
        for _ in range(40):
            connection = socket.create_connection(("127.0.0.1", console.port), timeout=SECONDS)
            connections.enter_context(connection)
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            waiting.append(connection)
        console.process.terminate()
        time.sleep(0.5)
        for worker in workers:
            os.kill(worker, signal.SIGCONT)
        assert [item.recv(15) for item in waiting] == [b"HTTP/1.1 200 OK"] * 40
        assert console.process.wait(SECONDS) == 0


def test_visitors_who_do_not_hang_up_hold_up_no_other(settings: Settings, tmp_path: Path):
    with serve(settings, tmp_path) as console, contextlib.ExitStack() as connections:
        answered = []
        for _ in range(20):
            connection = socket.create_connection(("127.0.0.1", console.port), timeout=SECONDS)
            connections.enter_context(connection)
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answered.append(connection)
        begun = time.monotonic()
        assert [answer.recv(15) for answer in answered] == [b"HTTP/1.1 200 OK"] * 20
        with Visitor(console.url) as visitor:
            assert visitor.get("/healthz").ok
        # gunicorn by itself would wait two seconds for each of them.
        assert time.monotonic() - begun < 10


def test_an_idle_connection_does_not_delay_a_stop(settings: Settings, tmp_path: Path):
    with serve(settings, tmp_path) as console:
        silent = [socket.create_connection(("127.0.0.1", console.port)) for _ in range(3)]
        time.sleep(6)  # past the moment at which gunicorn sets such a connection aside
        begun = time.monotonic()
        assert console.stop() == 0
        assert time.monotonic() - begun < 15
        for item in silent:
            item.close()


def test_a_restart_behind_a_socket_that_stays_open_loses_no_request(
    anna: Desk, settings: Settings, tmp_path: Path
):
    # What customer-memory.socket does: connections wait for the next server.
    with (
        socket.create_server(("127.0.0.1", 0), backlog=512) as listener,
        contextlib.ExitStack() as consoles,
    ):
        how = {"listener": listener, "extra": WITH_WEBHOOK}
        first = consoles.enter_context(serve(settings, tmp_path, **how))
        with crowd(first.port, body=lambda: message(anna)) as asking:
            time.sleep(0.3)
            assert first.stop() == 0
            consoles.enter_context(serve(settings, tmp_path, **how))
    assert asking.failures() == []
    assert stored() == len(asking.asked)


def test_a_setting_that_cannot_be_read_ends_the_start_in_one_line(settings: Settings, tmp_path: Path):
    console = start(settings, tmp_path, extra={"CONSOLE_CUSTOMER_BADGE": "perhaps"})
    try:
        assert console.process.wait(SECONDS) == 4
    finally:
        console.process.kill()
    plain = [line for line in console.log.read_text().splitlines() if not line.startswith("{")]
    assert plain == ["CONSOLE_CUSTOMER_BADGE takes true or false"]


def test_every_line_is_json_and_the_counters_directory_goes_in_the_end(settings: Settings, tmp_path: Path):
    with serve(settings, tmp_path) as console, Visitor(console.url) as visitor:
        assert visitor.get("/metrics").status_code == 200
        assert list(Path("/dev/shm").glob(f"console-metrics-{console.process.pid}-*"))
        assert console.stop() == 0
    events = [json.loads(line)["event"] for line in console.log.read_text().splitlines()]
    assert events[0].startswith("Starting gunicorn")
    assert "request" in events
    assert "Shutting down: Master" in events
    assert not list(Path("/dev/shm").glob(f"console-metrics-{console.process.pid}-*"))


def test_the_counters_of_a_server_that_was_killed_go_when_the_next_one_starts(
    settings: Settings, tmp_path: Path
):
    running = Path(tempfile.mkdtemp(prefix=f"console-metrics-{os.getpid()}-", dir="/dev/shm"))
    with serve(settings, tmp_path) as console:
        console.process.kill()
        console.process.wait()
    (left,) = Path("/dev/shm").glob(f"console-metrics-{console.process.pid}-*")
    with serve(settings, tmp_path):
        assert not left.exists()
        assert running.exists()
    running.rmdir()


def test_metrics_are_of_all_workers_and_go_on_after_a_reload(settings: Settings, tmp_path: Path):
    def answered(visitor: Visitor) -> float:
        line = 'console_request_seconds_count{method="GET",route="/healthz",status="200"} '
        text = visitor.get("/metrics").text
        return float(text.partition(line)[2].partition("\n")[0] or 0)

    with serve(settings, tmp_path) as console, Visitor(console.url) as visitor:
        before = answered(visitor)
        for _ in range(10):
            with Visitor(console.url) as another:
                another.get("/healthz")
        assert answered(visitor) == before + 10
        old = console.workers()
        console.process.send_signal(signal.SIGHUP)
        wait_for_new_workers(console, old)
        assert answered(visitor) >= before + 10
