"""Runs the tests on each mutant in a forked process, most of which ends with the first test.

The parent imports what the tests need of others, never the console: a child imports that anew, with one
mutant in the place of its module. A mutant is run on those of its module's tests that call its function, or
any function of its module where it is in none. Those that killed its neighbours come first, then the others
on SQLite, and in the end, where the mutant is alive still, those on PostgreSQL; the quicker ones first. A
process that a test starts sees no mutant.
"""

import contextlib
import fcntl
import importlib
import io
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import traceback
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType

import pytest

from verification.mutants import plugin
from verification.mutants.plugin import Run, Watched

ROOT = Path(__file__).resolve().parents[2]
MUTATE = Path(__file__).with_name("mutate.py")
MUTATING_PYTHON = ROOT / ".venv-mutants" / "bin" / "python"

_LINKING = ("tests/linking/test_service.py", "tests/linking/test_pages.py")
_TRAIL = (
    "tests/linking/test_audit.py",
    "tests/linking/test_outbox.py",
    "tests/linking/test_verify.py",
    "tests/linking/test_queue.py",
    "tests/person/test_erasure.py",
)
_READING = ("tests/conversations/test_pages.py", "tests/conversations/test_before_linking.py")
_BADGES = (
    "tests/conversations/test_resolution.py",
    "tests/conversations/test_badges.py",
    "tests/conversations/test_commands.py",
)
_DESK = (
    "tests/linking/test_choices.py",
    "tests/linking/test_queue.py",
    "tests/linking/test_words.py",
)
_COSTS = ("tests/test_performance.py", "tests/test_plans.py")
_METRICS = "tests/operations/test_metrics.py"

JUDGES: dict[str, tuple[str, ...]] = {
    "console/permissions.py": (
        *_BADGES,
        *_READING,
        "tests/linking/test_queue.py",
        "tests/security/test_permissions.py",
    ),
    "console/identifiers.py": ("tests/test_identifiers.py", "tests/conversations/test_display.py"),
    "console/conversations/badges.py": (*_BADGES, *_READING, _METRICS),
    "console/conversations/resolution.py": (
        *_BADGES,
        *_READING,
        "tests/conversations/test_snapshots.py",
        _METRICS,
        "tests/test_partitions.py",
    ),
    "console/conversations/queries.py": (
        *_READING,
        "tests/conversations/test_queries.py",
        *_BADGES,
        *_DESK,
        *_COSTS,
        "tests/test_ownership.py",
    ),
    "console/linking/queries.py": (
        *_LINKING,
        *_DESK,
        *_COSTS,
        "tests/conversations/test_queries.py",
        "tests/test_ownership.py",
    ),
    "console/linking/service.py": (
        *_LINKING,
        "tests/linking/test_requests.py",
        *_TRAIL,
        "tests/test_ownership.py",
        _METRICS,
    ),
    "console/linking/state.py": _LINKING,
    "console/linking/events.py": (
        *_LINKING,
        *_TRAIL,
        "tests/linking/test_events.py",
        "tests/linking/test_checkpoints.py",
        "tests/person/test_export.py",
        "tests/test_link_migrations.py",
        _METRICS,
    ),
    "console/linking/audit.py": (
        *_TRAIL,
        "tests/linking/test_append_only.py",
        "tests/linking/test_keeper.py",
        "tests/linking/test_service.py",
        "tests/person/test_refusals.py",
        _METRICS,
    ),
    "console/linking/history.py": (
        *_TRAIL,
        *_LINKING[1:],
        "tests/linking/test_checkpoints.py",
        "tests/linking/test_history.py",
        "tests/linking/test_keeper.py",
        "tests/linking/test_words.py",
        "tests/operations/test_watching.py",
        "tests/test_ownership.py",
        _METRICS,
    ),
    "console/linking/verification.py": (
        *_TRAIL,
        "tests/linking/test_checkpoints.py",
        "tests/linking/test_service.py",
        "tests/person/test_refusals.py",
    ),
    "console/ingestion/whatsapp.py": ("tests/ingestion/test_whatsapp.py", "tests/ingestion/test_samples.py"),
}
"""The modules that decide, and the tests that judge the mutants of each."""

MAX_FIRST = 8
"""How many of the tests that killed neighbours run before the others are looked for."""
SECONDS, TIMES_AS_LONG = 60, 2
"""Of processor time for one mutant: so many seconds, and so many times what its tests take without one.

A mutant that takes longer is in an endless loop, and counts as killed.
"""
PATIENCE = 5
"""How many times as long that may take by the clock: other processes are about, and some tests wait."""

KILLED, SURVIVED, TIMEOUT = "killed", "survived", "timeout"


@dataclass(frozen=True)
class Mutant:
    """One small change of the code."""

    module: str
    """Its path from the root."""
    function: str
    """With its class, if any; empty where it is in none."""
    begins: int | None
    """The line on which the function begins; None where its code runs when it is imported, or once."""
    line: int
    old: str
    new: str
    """The lines that it replaces, and those that it puts there."""
    source: str = field(repr=False)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Return what says which change it is, wherever its line has moved."""
        return self.module, self.function, self.old, self.new


def mutants(modules: Sequence[str]) -> list[Mutant]:
    """Return mutmut's mutants of these modules."""
    command = [str(MUTATING_PYTHON), str(MUTATE), *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [Mutant(**json.loads(line)) for line in done.stdout.splitlines()]


class _Loader(SourceFileLoader):
    """Loads a mutant in the place of its module."""

    def __init__(self, name: str, mutant: Mutant) -> None:
        super().__init__(name, str(ROOT / mutant.module))
        self.source = mutant.source

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self.source, self.path, "exec", dont_inherit=True)
        return code


class _Finder(MetaPathFinder):
    """Finds one module as its mutant."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant
        self.name = mutant.module.removesuffix(".py").replace("/", ".")

    def find_spec(self, fullname: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        loader = _Loader(fullname, self.mutant)
        return spec_from_file_location(fullname, loader.path, loader=loader)


class Judge:
    """Runs the tests without a mutant, and then on each."""

    def __init__(self, work: Run, modules: Sequence[str], *, processes: int | None = None) -> None:
        self.processes = processes or os.cpu_count() or 1
        self.work = work
        self.modules = modules
        self.files = frozenset(str(ROOT / module) for module in modules)
        self.watched = Watched()
        self.killers: dict[tuple[str, str], list[str]] = defaultdict(list)

    def watch(self) -> None:
        """Run the tests without a mutant; raises RuntimeError where they fail."""
        told = self.work.directory / "watched"

        def work() -> int:
            plugin.run = replace(self.work, files=self.files)
            tests = sorted({test for module in self.modules for test in JUDGES[module]})
            result = _pytest(tests, self.work.directory / "watching")
            modules = [
                name
                for name, module in sys.modules.items()
                if "site-packages" in (getattr(module, "__file__", None) or "")
            ]
            told.write_bytes(pickle.dumps((plugin.run.watched, modules)))
            return result

        output = self.work.directory / "output"
        pid = _fork(work, output, seconds=None)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            raise RuntimeError(f"the tests fail without a mutant\n{output.read_text()}")
        self.watched, modules = pickle.loads(told.read_bytes())
        import_once(modules, self.work.directory)

    def judge(self, mutants: Sequence[Mutant]) -> Iterator[tuple[Mutant, str]]:
        """Give each mutant with what became of it."""
        self._check(mutants[:1])
        waiting, free = deque(mutants), list(range(self.processes))
        running: dict[int, tuple[Mutant, int]] = {}
        while waiting or running:
            while waiting and free:
                mutant, slot = waiting.popleft(), free.pop()
                self._failures(slot).unlink(missing_ok=True)
                running[self._start(mutant, slot, self._tests(mutant))] = mutant, slot
            pid, status = os.wait()
            if pid not in running:
                continue
            mutant, slot = running.pop(pid)
            free.append(slot)
            _end_group(pid)
            verdict = self._verdict(mutant, slot, os.waitstatus_to_exitcode(status))
            if verdict:
                yield mutant, verdict
            else:
                waiting.appendleft(mutant)

    def _check(self, mutants: Sequence[Mutant]) -> None:
        """Run some tests of a mutant on the code as it is; raises RuntimeError where they fail."""
        for mutant in mutants:
            same = replace(mutant, source=(ROOT / mutant.module).read_text())
            if not self._passes(same, 0, [tests[:MAX_FIRST] for tests in self._tests(mutant)]):
                output = self.work.directory / "output-0"
                raise RuntimeError(f"the tests fail without a mutant\n{output.read_text()}")

    def _passes(self, mutant: Mutant, slot: int, groups: Sequence[list[str]]) -> bool:
        return os.waitpid(self._start(mutant, slot, groups), 0)[1] == 0

    def _start(self, mutant: Mutant, slot: int, groups: Sequence[list[str]]) -> int:
        def work() -> int:
            sys.meta_path.insert(0, _Finder(mutant))
            server = (self.work.directory / "server").open("w")
            for tests in filter(None, groups):
                # Tests on PostgreSQL look at the whole server: one process at a time.
                is_on_server = not self.watched.on_server.isdisjoint(tests)
                fcntl.flock(server, fcntl.LOCK_EX if is_on_server else fcntl.LOCK_UN)
                plugin.run = replace(
                    self.work,
                    tests=tests,
                    failures=self._failures(slot),
                    watched=Watched(made=self.watched.made),
                )
                files = dict.fromkeys(name.partition("::")[0] for name in tests)
                if result := _pytest(list(files), self.work.directory / f"slot-{slot}"):
                    return result
            return 0

        usual = sum(self.watched.seconds[name] for tests in groups for name in tests)
        seconds = SECONDS + int(TIMES_AS_LONG * usual)
        return _fork(work, self.work.directory / f"output-{slot}", seconds=seconds)

    def _tests(self, mutant: Mutant) -> tuple[list[str], list[str], list[str]]:
        """Return the tests of a mutant: those to try first, the others, and those on PostgreSQL."""
        path, judges, watched = str(ROOT / mutant.module), JUDGES[mutant.module], self.watched
        calling = [
            name
            for name, called in watched.called.items()
            if name.partition("::")[0] in judges
            and any(file == path and mutant.begins in (None, begins) for file, begins in called)
        ]
        calling.sort(key=watched.seconds.__getitem__)
        neighbours = [*self.killers[mutant.module, mutant.function], *self.killers[mutant.module, ""]]
        first = [name for name in dict.fromkeys(neighbours) if name in calling][:MAX_FIRST]
        others = [name for name in calling if name not in first]
        return (
            first,
            [name for name in others if name not in watched.on_server],
            [name for name in others if name in watched.on_server],
        )

    def _verdict(self, mutant: Mutant, slot: int, status: int) -> str | None:
        """Return what became of a mutant; None if a test that failed passes when it runs again.

        Some tests depend on the time, and may fail without a mutant on a busy machine.
        """
        if status == 0:
            return SURVIVED
        if status < 0:
            return TIMEOUT
        failures = self._failures(slot)
        for name in failures.read_text().splitlines()[:1] if failures.exists() else ():
            if name not in self.killers[mutant.module, ""] and self._passes(mutant, slot, [[name]]):
                return None
            for neighbours in (mutant.function, ""):
                known = self.killers[mutant.module, neighbours]
                known[:] = [name, *(other for other in known if other != name)]
        return KILLED

    def _failures(self, slot: int) -> Path:
        return self.work.directory / f"failures-{slot}"


def _pytest(paths: Sequence[str], temporary: Path) -> int:
    """Run pytest in this process until a test fails; return its status."""
    options = ("-x", "-q", "-n0", "-p", "no:cacheprovider", "-p", plugin.__name__, "--hypothesis-seed=0")
    return int(pytest.main([*options, f"--basetemp={temporary}", *paths]))


def import_once(modules: Sequence[str], directory: Path) -> None:
    """Import what all processes share; pytest does not take plugins that it has not imported itself."""
    nothing = directory / "nothing"
    nothing.mkdir(exist_ok=True)
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(
            ["-q", "-n0", "-c", os.devnull, f"--rootdir={nothing}", "-p", "no:cacheprovider", str(nothing)]
        )
    for name in modules:
        importlib.import_module(name)


def _fork(work: Callable[[], int], output: Path, *, seconds: int | None) -> int:
    """Start a process group for `work`, which returns its status; return its id."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    status = 70
    try:
        os.setpgid(0, 0)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        if seconds is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            signal.alarm(seconds * PATIENCE)
        status = work()
    except BaseException:  # whatever a mutant raises while it is imported: it is dead
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _end_group(pid: int) -> None:
    """End what a process has left behind."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
