"""The systemd units: valid, hardened, and consistent with the other settings that ship."""

import re
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from gunicorn.arbiter import Arbiter

from console.config import ROOT, Settings
from testkit.databases import environment, on_sqlite
from tests.serving.server import SECONDS, Console, Visitor, serve, start

UNITS = (
    "customer-memory.service",
    "customer-memory.socket",
    "customer-memory-away.target",
    "customer-memory-checkpoint.service",
    "customer-memory-checkpoint.timer",
    "customer-memory-backup.service",
    "customer-memory-backup.timer",
)
HOME = "/srv/customer-memory"
# Of 10, as systemd counts it: what is left is that it talks to databases over the network.
MAX_EXPOSED = 1.5


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """Return the units with this checkout's paths in them, so that what they name is there."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze: python3 scripts/bootstrap.py test")
    for name in UNITS:
        unit = (ROOT / "deploy" / name).read_text().replace(HOME, str(ROOT))
        (tmp_path / name).write_text(unit)
    return tmp_path


def analyze(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Ask systemd about units that are not installed."""
    command = ["systemd-analyze", "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def setting(name: str, unit: str = UNITS[0]) -> list[str]:
    """Return what a unit sets under a name."""
    return re.findall(rf"^{name}=(.*)$", (ROOT / "deploy" / unit).read_text(), re.MULTILINE)


def test_systemd_understands_every_line(units: Path):
    done = analyze("verify", *(units / name for name in UNITS))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_is_locked_up(units: Path):
    done = analyze("security", "--offline=true", f"--threshold={int(MAX_EXPOSED * 10)}", units / UNITS[0])
    assert done.returncode == 0, done.stdout


def test_it_is_stopped_only_after_gunicorn_has_answered_every_request():
    graceful = re.search(r"^graceful_timeout = (\d+)$", (ROOT / "gunicorn.conf.py").read_text(), re.MULTILINE)
    assert graceful
    (stop,) = setting("TimeoutStopSec")
    assert int(stop) > int(graceful[1])


def test_the_port_is_the_one_that_gunicorn_and_nginx_name():
    (address,) = setting("ListenStream", UNITS[1])
    assert f'bind = "{address}"' in (ROOT / "gunicorn.conf.py").read_text()
    assert f"server {address};" in (ROOT / "deploy" / "nginx.conf").read_text()


def test_a_bad_setting_ends_in_a_failure_and_not_in_restarts_without_end():
    assert (
        setting("ExecStartPre") == []
    )  # the first worker says what is wrong, before systemd hears that it is ready
    assert setting("NotifyAccess") == ["all"]
    refusals = {"1", str(Arbiter.WORKER_BOOT_ERROR), str(Arbiter.APP_LOAD_ERROR)}
    assert set(setting("RestartPreventExitStatus")[0].split()) == refusals
    # What fails closes the port, and what is started opens it again.
    assert setting("OnFailure") == ["customer-memory-away.target"]
    assert setting("OnFailureJobMode") == ["fail"]  # by default it would cancel a restart whose stop fails
    assert (
        setting("Conflicts", "customer-memory-away.target")
        == setting("Requires")
        == ["customer-memory.socket"]
    )
    interval, burst = setting("StartLimitIntervalSec")[0], setting("StartLimitBurst")[0]
    assert (int(burst), int(interval)) == (5, 60)


def test_a_reload_with_an_invalid_setting_is_refused(tmp_path: Path):
    check, signal = setting("ExecReload")
    assert "kill -HUP $MAINPID" in signal  # a minimal system has no /bin/kill
    command = check.replace(HOME, str(ROOT)).split()
    for name, value, status in (
        ("CONSOLE_LOG_LEVEL", "info", 0),
        ("CONSOLE_LOG_LEVEL", "loud", 1),
        ("WEB_CONCURRENCY", "0", 1),
        ("WEB_CONCURRENCY", "two", 1),
    ):
        environ = {"CONSOLE_SECRET_KEY": "of the tests", name: value}
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr


def challenged(console: Console, token: str) -> int:
    """Ask as WhatsApp does whether this is the console's verify token, and return the status."""
    query = f"hub.mode=subscribe&hub.challenge=1&hub.verify_token={token}"
    with Visitor(console.url) as visitor:
        return visitor.get(f"/webhooks/whatsapp?{query}").status_code


@on_sqlite
def test_a_reload_takes_in_new_settings_and_forgets_those_that_are_gone(settings: Settings, tmp_path: Path):
    home = tmp_path / "run"
    home.mkdir()
    _, signal = setting("ExecReload")
    *_, script = shlex.split(signal.replace("/run/customer-memory", str(home)))
    before = {"RUNTIME_DIRECTORY": str(home), "CONSOLE_WHATSAPP_VERIFY_TOKEN": "before"}
    with serve(settings, tmp_path, extra=before) as console:
        assert challenged(console, "before") == 200
        given = {name: value for name, value in environment(settings).items() if name != "RUNTIME_DIRECTORY"}
        for changes, workers in (
            ({"CONSOLE_WHATSAPP_VERIFY_TOKEN": "after", "WEB_CONCURRENCY": "3"}, 3),
            ({}, 2),
        ):
            old = console.workers()
            environ = {**given, **changes, "MAINPID": str(console.process.pid)}
            subprocess.run(["/bin/sh", "-c", script], env=environ, check=True)
            deadline = time.monotonic() + SECONDS
            while console.workers() & old or len(console.workers()) != workers:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            console.wait_until_up()
            assert challenged(console, "before") != 200
            assert (challenged(console, "after") == 200) == bool(changes)
            assert not (home / "settings").exists()


@on_sqlite
def test_systemd_hears_that_it_is_ready_once_it_can_answer(settings: Settings, tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(SECONDS)
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        console = start(settings, tmp_path, extra={**told, "CONSOLE_CUSTOMER_BADGE": "perhaps"})
        assert console.process.wait(SECONDS) == 4
        console = start(settings, tmp_path, extra=told, app="tests.serving.slow:app")
        try:
            begun = time.monotonic()
            assert notified.recv(100) == b"READY=1"  # of the second one
            assert time.monotonic() - begun > 4
            assert seconds_to_answer(console) < 1
        finally:
            console.stop()


def seconds_to_answer(console: Console) -> float:
    """Return how long /healthz takes."""
    begun = time.monotonic()
    with Visitor(console.url) as visitor:
        assert visitor.get("/healthz").status_code == 200
    return time.monotonic() - begun
