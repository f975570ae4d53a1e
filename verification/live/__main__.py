"""Install the console in a Debian of its own, put it under load, break everything, and say what became of it.

`python -m verification.live`, what `make test-live` does. It takes root and about ten minutes. For each fault
it prints what was answered, the slowest answers, and how long after healing all worked again. The machine's
journal is kept.
"""

import argparse
import fcntl
import os
import shutil
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

from verification.live import handbook, load, machine
from verification.live.faults import FAULTS, SETTINGS, Fault
from verification.live.load import Answer, Load
from verification.live.machine import LiveError, Machine

OPERATORS, CONVERSATIONS, SENDERS = 3, 4, 2
PASSWORD = "four unrelated words: gravel oboe lantern"
CALM_SECONDS = 5
RECOVERY_SECONDS = 90
MAX_HEALTH_SECONDS = 1.0
MAX_READY_SECONDS = 2.0
MAX_AWAY_SECONDS = 1.0
"""How long a visitor may wait to hear that the console is away, once it has refused to start."""
PREPARED = "CUSTOMER_MEMORY_LIVE"
JOURNAL = machine.CACHE / "journal.log"

CERTIFY = """
mkdir -p /etc/ssl/customer-memory && cd /etc/ssl/customer-memory
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
    -subj /CN=console.example.org \
    -addext subjectAltName=DNS:console.example.org -keyout privkey.pem -out fullchain.pem
"""
HEADING = (
    f"{'fault':<26}{'answers to links, messages, pages':<48}"
    f"{'healthz':>9}{'readyz':>9}{'page':>10}{'recovered':>11}"
)


@dataclass(frozen=True)
class Outcome:
    """What a fault did."""

    fault: Fault
    work: list[Answer]
    slowest: dict[str, float]
    recovery: float | None
    faults: list[str]
    """What should have held and didn't."""

    def __str__(self) -> str:
        """Return it as a line of the table."""
        recovery = "never" if self.recovery is None else f"{self.recovery:.1f} s"
        healthz, readyz, page = (f"{seconds * 1000:.0f} ms" for seconds in self.slowest.values())
        done = load.summary(self.work)
        line = f"{self.fault.name:<26}{done:<48}{healthz:>9}{readyz:>9}{page:>10}{recovery:>11}"
        return "\n".join([line, *(f"    FAILED: {fault}" for fault in self.faults)])


def say(line: str) -> None:
    """Tell the person what is going on."""
    print(line, file=sys.stderr, flush=True)


def install(host: Machine) -> None:
    """Install the console by the book, line by line."""
    host.sh(CERTIFY)
    for title, script in handbook.steps().items():
        if title != "Packages and code":  # which is in the tree already
            begun = time.monotonic()
            host.sh(script, PASSWORD=PASSWORD)
            say(f"  {title}: {time.monotonic() - begun:.1f} s")


def populate(host: Machine) -> list[tuple[str, str]]:
    """Make conversations, and a customer for each; return the ids in pairs."""
    ids = [(str(uuid4()), str(uuid4())) for _ in range(OPERATORS * CONVERSATIONS)]
    for number, (conversation_id, customer_id) in enumerate(ids):
        person = f"'whatsapp', '3933300000{number:02}'"
        host.psql(
            "INSERT INTO conversations (id, instructor_id, channel, customer_identifier, status, created_at,"
            f" updated_at, last_message_at) SELECT '{conversation_id}', id, {person}, 'open', now(), now(),"
            " now() FROM instructors;"
            " INSERT INTO customers (id, instructor_id, channel, normalized_identifier,"
            f" created_at) SELECT '{customer_id}', id, {person}, now() FROM instructors"
        )
    return ids


def setting(host: Machine, name: str) -> str:
    """Return what the server's settings say."""
    return host.sh(f"sed -n 's/^{name}=//p' {SETTINGS}")


@contextmanager
def under_load(host: Machine) -> Iterator[Load]:
    """Let operators, WhatsApp and probes work on the console, by nginx and by its own port."""
    secret = uuid4().hex
    host.sh(f"echo CONSOLE_WHATSAPP_APP_SECRET={secret} >> {SETTINGS}; systemctl reload customer-memory")
    ids = populate(host)
    certificate = host.tree / "etc/ssl/customer-memory/fullchain.pem"
    crowd = Load(str(certificate), secret, "100000000000001")
    token = setting(host, "CONSOLE_METRICS_TOKEN")
    crowd.start(
        *(
            partial(crowd.link, "marta@example.org", PASSWORD, ids[place::OPERATORS])
            for place in range(OPERATORS)
        ),
        *[crowd.send_messages] * SENDERS,
        crowd.probe("healthz", f"{load.OWN_PORT}/healthz", 0.1),
        crowd.probe("readyz", f"{load.OWN_PORT}/readyz", 0.5),
        crowd.probe("metrics", f"{load.OWN_PORT}/metrics", 1.0, Authorization=f"Bearer {token}"),
        crowd.probe("page", f"{load.PUBLIC}/login", 0.2),
    )
    try:
        yield crowd
    finally:
        crowd.stop()


def main_process(host: Machine) -> str:
    """Return the process id of the console's master."""
    return host.sh("systemctl show --property=MainPID --value customer-memory")


def undergo(host: Machine, crowd: Load, fault: Fault) -> Outcome:
    """Break, wait, heal; return what happened."""
    time.sleep(CALM_SECONDS)
    before, broken_at = main_process(host), time.monotonic()
    host.sh(fault.breaks)
    refused_at = time.monotonic()
    time.sleep(fault.seconds)
    told = crowd.during(refused_at, time.monotonic(), "page") if fault.stops_console else []
    host.sh(fault.heals)
    healed_at = time.monotonic()
    recovery = None
    while recovery is None and time.monotonic() < healed_at + RECOVERY_SECONDS:
        time.sleep(0.05)
        recovery = recovered(crowd, healed_at)
    over = time.monotonic()
    slowest = {
        kind: max((it.seconds for it in crowd.during(broken_at, over, kind)), default=0.0)
        for kind in ("healthz", "readyz", "page")
    }
    work = crowd.during(broken_at, over, "link", "message", "page")
    probes = crowd.during(broken_at, healed_at, "readyz")
    away = 0 if fault.stops_console else 503
    healthy = all(it.good for it in crowd.during(broken_at, over, "healthz"))
    checks = {
        "it did not recover": recovery is not None,
        "a request failed": not fault.unnoticed or all(it.good for it in work),
        "/healthz took too long": slowest["healthz"] < MAX_HEALTH_SECONDS,
        "/healthz failed": fault.stops_console or healthy,
        # While the console loads, /readyz waits for it.
        "/readyz took too long": fault.restarts or slowest["readyz"] < MAX_READY_SECONDS,
        "/readyz said nothing": fault.unnoticed or any(it.status == away for it in probes),
        "visitors waited": bool(told) == fault.stops_console
        and all(it.seconds < MAX_AWAY_SECONDS for it in told),
        "another process than expected": fault.restarts == (main_process(host) != before),
    }
    return Outcome(fault, work, slowest, recovery, [name for name, held in checks.items() if not held])


def recovered(crowd: Load, healed_at: float) -> float | None:
    """Return how long after healing a link, a message, a page and both probes had all come well again."""
    first = []
    for kind in ("link", "message", "page", "readyz", "healthz"):
        good = (it for it in crowd.during(healed_at, float("inf"), kind) if it.good)
        answer = next(good, None)
        if answer is None:
            return None
        first.append(answer.sent_at + answer.seconds - healed_at)
    return max(first)


def lost(host: Machine, crowd: Load) -> list[str]:
    """Return what was acknowledged and isn't there, or is there twice."""
    exported = host.sh(
        "customer-memory audit drain > /dev/null 2>&1; customer-memory audit export 2> /dev/null"
    )
    found = load.operation_ids(exported)
    there = set(host.psql("SELECT external_id FROM messages"))
    links = [f"link {it}: {found[it]} events" for it in sorted(crowd.links) if found[it] != 1]
    return links + [f"message {it}" for it in sorted(crowd.messages - there)]


def check(host: Machine) -> None:
    """Try what docs/operations.md says about backing up and about PgBouncer's console."""
    host.sh("systemctl start customer-memory-backup.service customer-memory-checkpoint.service")
    files = host.sh("cd /var/backups/customer-memory && stat --format='%a %n' *").splitlines()
    if len(files) < 2 or not all(line.startswith("600 ") for line in files):
        raise LiveError(f"backups: {files}")
    say("  " + host.sh("journalctl --unit customer-memory-backup --output cat | grep verified | tail -1"))
    host.sh(
        "cd / && runuser -u postgres -- psql --port 6432 --username pgbouncer pgbouncer --command RECONNECT"
    )


def prove(host: Machine, only: str | None) -> bool:
    """Go through everything and print the table; say whether all of it held."""
    say("Installing")
    install(host)
    with under_load(host) as crowd:
        say("Backup, checkpoint and RECONNECT under load")
        check(host)
        print(HEADING, flush=True)
        outcomes = []
        for fault in FAULTS:
            if only is None or only in fault.name:
                outcomes.append(undergo(host, crowd, fault))
                print(outcomes[-1], flush=True)
        time.sleep(CALM_SECONDS)
    missing = lost(host, crowd)
    print(*missing[:20], sep="\n", end="\n" if missing else "")
    print(host.sh("customer-memory audit verify"))
    print(*crowd.problems[:20], sep="\n", end="\n" if crowd.problems else "")
    kept = len(crowd.links), len(crowd.messages)
    print(f"{kept[0]} links and {kept[1]} messages were acknowledged; lost or twice: {len(missing)}.")
    metrics = crowd.during(0, float("inf"), "metrics")
    print(f"/metrics: {load.summary(metrics)}, slowest {max(it.seconds for it in metrics):.1f} s.")
    return not missing and not crowd.problems and not any(it.faults for it in outcomes) and all(kept)


def enter(directory: Path) -> None:
    """Give this process, which has a network and mounts of its own, loopback and the console's name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        up = struct.pack("16sh", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
        fcntl.ioctl(control, 0x8914, up)  # SIOCSIFFLAGS
    hosts = directory / "hosts"
    hosts.write_text("127.0.0.1 localhost console.example.org\n")
    machine.run("mount", "--bind", hosts, "/etc/hosts")


def main() -> None:
    """Read the command line, prepare, and go on in a network of its own."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", metavar="TEXT", help="only the faults with this in their name")
    options = parser.parse_args()
    for program in ("debootstrap", "systemd-nspawn", "nsenter", "unshare"):
        if not shutil.which(program) or os.geteuid():
            sys.exit("This takes root, and Debian's packages debootstrap and systemd-container.")
    if PREPARED not in os.environ:
        machine.CACHE.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix="run-", dir=machine.CACHE))
        command = ["unshare", "--net", "--mount", sys.executable, "-m", "verification.live", *sys.argv[1:]]
        try:
            say("Making the tree (minutes, the first time)")
            machine.prepare(directory)
            status = os.spawnvpe(os.P_WAIT, command[0], command, {**os.environ, PREPARED: str(directory)})
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        sys.exit(status)
    directory = Path(os.environ[PREPARED])
    enter(directory)
    host = Machine(directory, directory / "tree", directory / "console.bundle")
    try:
        host.boot()
        held = prove(host, options.only)
    except LiveError as error:
        sys.exit(str(error))
    finally:
        JOURNAL.write_text(host.sh("journalctl --no-pager --output=short-iso-precise", check=False))
        say(f"The machine's journal: {JOURNAL}")
        host.stop()
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
