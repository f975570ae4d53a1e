"""What pytest does in a process of runner.py: which tests run, in which order, and on which database.

PYTEST_DONT_REWRITE: the runner imports this first, to say what to do.
"""

import shutil
import sys
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from functools import _lru_cache_wrapper
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from jinja2 import FileSystemBytecodeCache
from sqlalchemy import URL

from testkit.postgres import Cluster

Place = tuple[str, int]
"""A function: the file, and the line on which it begins."""


@dataclass
class Watched:
    """What a run without a mutant tells: of each test its seconds and the functions that it called."""

    seconds: dict[str, float] = field(default_factory=dict)
    called: dict[str, set[Place]] = field(default_factory=dict)
    on_server: set[str] = field(default_factory=set)
    """The tests on PostgreSQL."""
    made: dict[str, Any] = field(default_factory=dict)
    """The databases that tests copy, by the name of their fixture."""


@dataclass
class Run:
    """What a process is to do; set before pytest starts."""

    directory: Path
    """For the databases that tests copy and for compiled templates: all processes share it."""
    cluster: Cluster
    tests: list[str] | None = None
    """The tests to run, in this order; None for all."""
    on_server: bool = True
    """Whether to run tests on PostgreSQL."""
    failures: Path | None = None
    """Gets the name of each test that fails."""
    files: frozenset[str] = frozenset()
    """The files whose functions are watched."""
    watched: Watched = field(default_factory=Watched)


run = Run(Path(), Cluster(Path(), {}))
MADE_ONCE = {"migrated", "migrated_on_server"}


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """Return the PostgreSQL that the runner has started."""
    return run.cluster


@pytest.fixture(scope="session")
def compiled() -> FileSystemBytecodeCache:
    """Return where all processes keep compiled templates."""
    return FileSystemBytecodeCache(str(run.directory))


@pytest.fixture(scope="session")
def migrated(request: pytest.FixtureRequest) -> Path:
    """Return a migrated database file, made once for all processes."""
    made: Path = run.watched.made.get("migrated") or request.getfixturevalue("migrated")
    return made


@pytest.fixture(scope="session")
def migrated_on_server(request: pytest.FixtureRequest) -> URL:
    """Return a migrated database of the server, made once for all processes."""
    made: URL = run.watched.made.get("migrated_on_server") or request.getfixturevalue("migrated_on_server")
    return made


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Keep the databases that are made once; a file outlives the process as a copy."""
    value = yield
    if fixturedef.argname in MADE_ONCE and fixturedef.argname not in run.watched.made:
        kept = shutil.copy(value, run.directory / "console.db") if isinstance(value, Path) else value
        run.watched.made[fixturedef.argname] = kept
    return value


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests to run, in their order, and note which of them are on PostgreSQL."""
    run.watched.on_server = {item.nodeid for item in items if on_server(item)}
    if run.tests is None:
        chosen = [item for item in items if run.on_server or item.nodeid not in run.watched.on_server]
    else:
        rank = {name: place for place, name in enumerate(run.tests)}
        chosen = sorted((item for item in items if item.nodeid in rank), key=lambda item: rank[item.nodeid])
    config.hook.pytest_deselected(items=list({*items}.difference(chosen)))
    items[:] = chosen


def on_server(item: pytest.Item) -> bool:
    """Say whether a test is on PostgreSQL."""
    callspec = getattr(item, "callspec", None)
    fixtures = set(getattr(item, "fixturenames", ()))
    asks = fixtures & {"cluster", "migrated_on_server", "partitioned_on_server"}
    return bool(asks) or (callspec is not None and callspec.params.get("engine") == "postgresql")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Watch which functions a test calls, in every thread, and how long it takes."""
    if not run.files:
        return (yield)
    called = run.watched.called[item.nodeid] = set()
    forget()

    def watch(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename in run.files:
            called.add((code.co_filename, code.co_firstlineno))

    started = time.process_time()
    threading.settrace(watch)
    sys.settrace(watch)
    try:
        return (yield)
    finally:
        sys.settrace(None)
        threading.settrace(None)
        run.watched.seconds[item.nodeid] = time.process_time() - started


def forget() -> None:
    """Empty the console's caches: a test that reuses what another has built calls what builds it as well."""
    for name in [name for name in sys.modules if name.startswith("console.")]:
        for member in list(vars(sys.modules[name]).values()):
            if type(member) is _lru_cache_wrapper:  # isinstance would ask Flask's proxies, which refuse here
                member.cache_clear()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name a test that fails to the runner."""
    if report.failed and run.failures:
        with run.failures.open("a") as file:
            file.write(f"{report.nodeid}\n")
