"""Serve the console on this machine with demo data: `python3 scripts/run.py`, what `make run` does.

PORT in the environment changes the port.
"""

import os
import re
import secrets
import socket
import subprocess
from zoneinfo import available_timezones

from bootstrap import INSTANCE, PYTHON, ROOT, SetupError, bootstrap, exclusive, plain_failures, say

HOST = "127.0.0.1"
SECRET_KEY = INSTANCE / "secret_key"
ENV_FILE = ROOT / ".env"
OTHERS_DATA = 3


def read_port() -> int:
    """Return the port that PORT= names, 8000 where it names none."""
    raw = os.environ.get("PORT") or "8000"
    if raw.isascii() and raw.isdecimal() and 0 < int(raw) < 65536:
        return int(raw)
    raise SetupError(f"PORT takes a number from 1 to 65535, not {raw!r}.")


def require_free(port: int) -> None:
    """Stop unless the console can listen on `port`."""
    with socket.socket() as candidate:
        # As the server does it: a port that was closed a moment ago counts as free.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((HOST, port))
        except OSError as error:
            reason = "needs root" if isinstance(error, PermissionError) else "is in use"
            other = port + 1 if 1023 < port < 65535 else 8000
            raise SetupError(f"Port {port} {reason}. Start on another one: make run PORT={other}") from None


def secret_key() -> str:
    """Return this checkout's own key, made once. The caller holds `exclusive`."""
    if not SECRET_KEY.exists():
        temporary = SECRET_KEY.with_suffix(".part")
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600, exist_ok=False)
        temporary.write_text(secrets.token_urlsafe(48))
        temporary.replace(SECRET_KEY)
    return SECRET_KEY.read_text()


def complete_environment() -> None:
    """Add to the environment what a newcomer hasn't set, there or in .env."""
    if not is_set("CONSOLE_SECRET_KEY"):
        os.environ["CONSOLE_SECRET_KEY"] = secret_key()
    if not is_set("CONSOLE_CUSTOMER_BADGE"):
        os.environ["CONSOLE_CUSTOMER_BADGE"] = "true"
    if not is_set("CONSOLE_TIME_ZONE"):
        os.environ["CONSOLE_TIME_ZONE"] = machine_zone()


def machine_zone() -> str:
    """Return the IANA name of this machine's time zone; UTC where it tells none."""
    _, _, linked = os.path.realpath("/etc/localtime").partition("/zoneinfo/")
    for name in (os.environ.get("TZ", "").removeprefix(":"), linked):
        if name and name in available_timezones():
            return name
    return "UTC"


def is_set(name: str) -> bool:
    """Return whether the environment or .env gives `name` a value."""
    lines = ENV_FILE.read_text(errors="replace") if ENV_FILE.is_file() else ""
    in_file = re.search(rf"^[ \t]*(?:export[ \t]+)?{name}[ \t]*=[ \t]*\S", lines, re.MULTILINE)
    return bool(os.environ.get(name) or in_file)


def flask(*arguments: str) -> str:
    """Run a command of the console and return what it prints; its messages are shown only where it fails."""
    return output_of(run_flask(*arguments), *arguments)


def run_flask(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of the console."""
    command = [str(PYTHON), "-m", "flask", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def output_of(done: "subprocess.CompletedProcess[str]", *arguments: str) -> str:
    """Return what a command printed; where it failed, show its messages and stop."""
    if done.returncode:
        say(done.stderr.rstrip())
        raise SetupError(f"flask {' '.join(arguments)} failed; its message is above.")
    return done.stdout


def demo() -> str:
    """Add the demo's data and return its sign-ins; a database with other people's data is left as it is."""
    done = run_flask("demo")
    if done.returncode == OTHERS_DATA:
        return "It has data of others than the demo's, which was left as it is. Sign in as before.\n"
    return output_of(done, "demo")


def prepare() -> str:
    """Bring environment, database and demo data up to date; return the demo sign-ins."""
    with exclusive():
        bootstrap("run")
        complete_environment()
        flask("db", "upgrade")
        return demo()


def serve(port: int) -> None:
    """Become the web server."""
    os.chdir(ROOT)
    options = ("--config", "gunicorn.conf.py", "--log-level", "warning", "--bind", f"{HOST}:{port}")
    command = [str(PYTHON), str(PYTHON.with_name("gunicorn")), *options, "app:app"]
    os.execv(PYTHON, command)  # noqa: S606 (no shell is wanted)


def main() -> None:
    """Prepare, say where the console is and how to sign in, and serve."""
    port = read_port()
    require_free(port)
    sign_ins = prepare()
    require_free(port)
    print(f"The console is at http://{HOST}:{port}/ until Ctrl-C.\n{sign_ins}", end="", flush=True)
    serve(port)


if __name__ == "__main__":
    with plain_failures():
        main()
