"""A Debian with systemd in a directory: made once, copied for each run, booted on a network of its own."""

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from console.config import ROOT
from verification.live import handbook

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "customer-memory-live"
BOOT_SECONDS = 60
DISK = "600m"
"""The size of the disk that PostgreSQL has to itself, so that it can be filled."""

# What a machine needs to boot; everything else is installed as docs/operations.md says.
MINIMAL = "systemd,systemd-sysv,dbus,ca-certificates"
NSPAWN = ("systemd-nspawn", "--quiet", "--register=no", "--keep-unit")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUNDLE = "/etc/customer-memory-bundle.crt"
"""Where the tree finds the certificates that this machine trusts its registries by."""
PASSED_ON = re.compile(r"(?i)pip_(?:index_url|default_timeout)|npm_config_\w+|https?_proxy|no_proxy")
CERTIFICATES = ("PIP_CERT", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE")


class LiveError(Exception):
    """A step that failed; the message has the command's own words."""


def run(*command: str | Path, environ: Mapping[str, str] | None = None) -> str:
    """Run a command of this machine and return its output."""
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LiveError(f"{' '.join(map(str, command))}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def repository(directory: Path) -> Path:
    """Bundle this checkout with its uncommitted changes, to be cloned from."""
    work = directory / "checkout"
    bundle = directory / "console.bundle"
    files = run("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, work / name)
    git = ("git", "-C", work, "-c", "user.name=Live", "-c", "user.email=live@example.org")
    run(*git, "init", "--quiet", "--initial-branch=main")
    run(*git, "add", "--all")
    run(*git, "commit", "--quiet", "--message=As it is")
    run(*git, "bundle", "create", "--quiet", bundle, "HEAD", "main")
    shutil.rmtree(work)
    return bundle


def base(bundle: Path) -> Path:
    """Return a tree in which the packages and the code are installed; make it where there is none."""
    script = handbook.steps()["Packages and code"]
    suite = run("sh", "-c", '. /etc/os-release && echo "$VERSION_CODENAME"').strip()
    locks = [ROOT / name for name in ("requirements.txt", "package-lock.json")]
    made_of = (script + suite + MINIMAL).encode() + b"".join(path.read_bytes() for path in locks)
    tree = CACHE / f"base-{hashlib.sha256(made_of).hexdigest()[:12]}"
    if tree.exists():
        return tree
    for older in CACHE.glob("base-*"):
        shutil.rmtree(older)
    part = CACHE / "base-part"
    shutil.rmtree(part, ignore_errors=True)
    targets = run(
        "apt-get", "indextargets", "--format", "$(REPO_URI)", f"Codename: {suite}", "Component: main"
    )
    mirror = targets.split()[0]
    run("debootstrap", "--variant=minbase", f"--include={MINIMAL}", suite, part, mirror)
    # Nothing starts while packages are installed: the network is still this machine's.
    policy = part / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    environ = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
    binds = [f"--bind-ro={bundle}:/mnt/console.bundle"]
    if trusted := next((os.environ[name] for name in CERTIFICATES if name in os.environ), None):
        shutil.copy(trusted, part / BUNDLE[1:])
        environ |= dict.fromkeys(CERTIFICATES, BUNDLE)
    environ |= {"DEBIAN_FRONTEND": "noninteractive", "REPOSITORY": "/mnt/console.bundle"}
    given = [f"--setenv={name}={value}" for name, value in environ.items()]
    nspawn = (*NSPAWN, f"--directory={part}", "--resolv-conf=copy-host", "--console=pipe", *binds, *given)
    run(*nspawn, "/bin/bash", "-euo", "pipefail", "-c", script)
    policy.unlink()
    (part / BUNDLE[1:]).unlink(missing_ok=True)
    # Debian gives a cluster another port where this machine uses PostgreSQL's own.
    for settings in part.glob("etc/postgresql/*/main/postgresql.conf"):
        settings.write_text(re.sub(r"(?m)^port = \d+", "port = 5432", settings.read_text()))
    part.rename(tree)
    return tree


@dataclass
class Machine:
    """A booted tree; it shares the network of the process that made it."""

    directory: Path
    tree: Path
    bundle: Path
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)
    leader: int = 0

    def boot(self) -> None:
        """Boot it, with PostgreSQL's files on a small disk of their own, and wait until systemd is done."""
        disk = self.directory / "disk"
        disk.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", disk)
        run("cp", "-a", f"{self.tree}/var/lib/postgresql/.", disk)
        binds = (f"--bind={disk}:/var/lib/postgresql", f"--bind-ro={self.bundle}:/mnt/console.bundle")
        with (self.directory / "boot.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*NSPAWN, f"--directory={self.tree}", "--boot", "--console=pipe", *binds],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise LiveError(f"it does not boot: {(self.directory / 'boot.log').read_text()}")
            time.sleep(0.5)
            pid = self.process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            self.leader = int(children[0]) if children else 0
            if self.leader and self.sh("systemctl is-system-running", check=False) in ("running", "degraded"):
                return

    def sh(self, script: str, *, check: bool = True, **environ: str) -> str:
        """Run a script in it as root and return what it prints, stderr too."""
        given = [f"{name}={value}" for name, value in environ.items()]
        command = [
            "nsenter",
            f"--target={self.leader}",
            "--all",
            "env",
            "-i",
            PATH,
            "HOME=/root",
            "LANG=C.UTF-8",
        ]
        done = subprocess.run(
            [*command, *given, "/bin/bash", "-euo", "pipefail", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise LiveError(f"{script}\nexit {done.returncode}: {done.stdout[-3000:]}")
        return done.stdout.strip()

    def psql(self, query: str) -> list[str]:
        """Ask its PostgreSQL as the superuser and return the lines of the answer."""
        quoted = query.replace("'", "'\\''")
        command = (
            f"runuser -u postgres -- psql --no-psqlrc --tuples-only --no-align --dbname console -c '{quoted}'"
        )
        return self.sh(f"cd / && {command}").splitlines()

    def stop(self) -> None:
        """Turn it off."""
        if self.process is None:
            return
        self.sh("systemctl poweroff", check=False)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
            return
        self.process.kill()
        self.process.wait(30)


def prepare(directory: Path) -> Machine:
    """Make a tree for one run, with this checkout's code in it."""
    bundle = repository(directory)
    made = base(bundle)
    tree = directory / "tree"
    run("cp", "-a", "--reflink=auto", made, tree)
    git = "cd /srv/customer-memory && runuser -u customer-memory -- git"
    # As a new version is taken in: the packages are there already, and the code is compiled.
    bootstrap = "runuser -u customer-memory -- env HOME=/srv/customer-memory python3 scripts/bootstrap.py run"
    take_in = f"{git} fetch --quiet /mnt/console.bundle main && {git} reset --quiet --hard FETCH_HEAD"
    script = f"{take_in} && {bootstrap}"
    binds = f"--bind-ro={bundle}:/mnt/console.bundle"
    run(*NSPAWN, f"--directory={tree}", "--console=pipe", binds, "/bin/bash", "-c", script)
    return Machine(directory, tree, bundle)
