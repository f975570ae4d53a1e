"""A real Chromium before the real app on a database of its own; what goes wrong unseen fails the test."""

import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect, sync_playwright
from werkzeug.serving import make_server
from werkzeug.test import run_wsgi_app

from console import create_app
from console.config import Settings
from console.database import db
from testkit.databases import settings_for
from testkit.factories import Person
from testkit.pages import Browser
from tests.browser.world import World, seed

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

DESK, PHONE = (1440, 900), (360, 740)
PATIENCE_MS = 15_000
expect.set_options(timeout=PATIENCE_MS)

# A form page that comes back with 409, 422 or 428 is an answer; Chromium reports it as an error all the same.
_ANSWERS = re.compile(r"Failed to load resource: .* status of (409|422|428)")
_REPORT_VIOLATIONS = (
    "addEventListener('securitypolicyviolation', (event) =>"
    " console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`))"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@dataclass(frozen=True)
class Site:
    """The console, served."""

    url: str
    app: Flask
    world: World
    slow: threading.Event
    """Once set, pages come in small parts."""

    @property
    def cli(self) -> FlaskCliRunner:
        """Return a runner for `flask` commands."""
        return self.app.test_cli_runner()


@dataclass
class Visit:
    """A person's browser window, what it asked for, and what went wrong in it."""

    page: Page
    world: World
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    expected: str = "nothing"

    def open(self, path: str) -> Page:
        """Open a path."""
        self.page.goto(path)
        return self.page

    def open_conversation(self, sender: str, part: str = "conversations") -> Page:
        """Open the conversation with a sender."""
        return self.open(f"/{part}/{self.world.conversations[sender]}")

    def asked_for(self, path: str) -> list[str]:
        """Return the requests for a path so far."""
        return [url for url in self.requests if urlsplit(url).path == path]

    def heard(self, message: ConsoleMessage) -> None:
        """Note an error or a warning of the console, unless the test expects it."""
        known = _ANSWERS.search(message.text) or re.search(self.expected, message.text)
        if message.type in ("error", "warning") and not known:
            self.problems.append(message.text)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """Start one browser for all tests."""
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert executable, "The browser tests need Chromium: CHROMIUM= names one, make test installs one."
    quiet = ("gpu", "quic", "background-networking", "component-update", "sync")
    # A process of its own for drawing may be lost on a busy machine; Chromium then answers nothing more.
    arguments = ["--no-sandbox", "--no-first-run", "--in-process-gpu"]
    arguments += [f"--disable-{feature}" for feature in quiet]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def seeded(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, World]:
    """Fill one database, to be copied."""
    path = Path(shutil.copy(migrated, tmp_path_factory.mktemp("seeded") / "console.db"))
    app = create_app(settings_for(path))
    with app.app_context():
        world = seed(app.test_cli_runner())
        _close_databases()
    return path, world


@pytest.fixture(scope="session")
def sessions(seeded: tuple[Path, World]) -> dict[str, str]:
    """Sign every person in once; a session holds on every copy of the database."""
    path, world = seeded
    with create_app(settings_for(path)).app_context() as context:
        return {
            person.email: _session_of(context.app, person) for person in (world.operator, world.instructor)
        }


@pytest.fixture
def site_settings(seeded: tuple[Path, World], tmp_path: Path) -> Settings:
    """Return the settings of a console on a copy of the world."""
    return settings_for(Path(shutil.copy(seeded[0], tmp_path / "console.db")))


@pytest.fixture
def site(site_settings: Settings, seeded: tuple[Path, World]) -> Iterator[Site]:
    """Serve the console."""
    app = create_app(site_settings)
    slow = threading.Event()
    server = make_server("127.0.0.1", 0, _served(app, slow), threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    with app.app_context():
        yield Site(f"http://127.0.0.1:{server.port}", app, seeded[1], slow)
        server.shutdown()
        thread.join()
        server.server_close()
        _close_databases()


def _served(app: Flask, slow: threading.Event) -> Callable[..., Iterable[bytes]]:
    """Close each body before it is sent: werkzeug's server leaves it open where the browser hangs up."""

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if slow.is_set():
            environ.pop("HTTP_ACCEPT_ENCODING", None)
        body, status, headers = run_wsgi_app(app, environ, buffered=True)
        start_response(status, list(headers))
        whole = b"".join(body)
        return _in_parts(whole) if slow.is_set() and b"<body" in whole else [whole]

    return answer


def _in_parts(page: bytes) -> Iterator[bytes]:
    """Give a page in parts, the first when the browser has had time to load its styles."""
    start = page.index(b"<body")
    yield page[:start]
    time.sleep(0.3)
    for part in re.split(rb"(?=<h1|<p|<form|<input|<ul|<dialog|</main)", page[start:]):
        yield part
        time.sleep(0.02)


def arrived(page: Page, heading: str, *, level: int = 1) -> None:
    """Wait for the page with a heading and for its scripts: earlier keys and clicks go to the browser."""
    expect(page.get_by_role("heading", level=level, name=heading)).to_be_visible()
    page.wait_for_load_state()


def lose_session(page: Page) -> None:
    """Let the browser lose its session once the page has its badges: a request for them would be refused."""
    expect(page.locator(".badge:not([data-state])")).to_have_count(0)
    page.context.clear_cookies()


Visitor = Callable[..., Visit]


@pytest.fixture
def visitor(chromium: Chromium, site: Site, sessions: dict[str, str]) -> Iterator[Visitor]:
    """Open windows for people; in the end none of them may have had a problem."""
    contexts: list[BrowserContext] = []
    visits: list[Visit] = []

    def visit(
        person: Person | None = None,
        *,
        size: tuple[int, int] = DESK,
        dark: bool = False,
        scripting: bool = True,
    ) -> Visit:
        context = chromium.new_context(
            base_url=site.url,
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            has_touch=size == PHONE,
            is_mobile=size == PHONE,
            java_script_enabled=scripting,
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        if person:
            context.add_cookies([{"name": "session", "value": sessions[person.email], "url": site.url}])
        page = context.new_page()
        if scripting:
            page.add_init_script(_REPORT_VIOLATIONS)
        visits.append(Visit(page, site.world))
        page.on("request", lambda request: visits[-1].requests.append(request.url))
        page.on("console", visits[-1].heard)
        page.on("pageerror", lambda error: visits[-1].problems.append(str(error)))
        return visits[-1]

    yield visit
    for context in contexts:
        context.close()
    assert [visit.problems for visit in visits] == [[] for _ in visits]


@pytest.fixture
def operator(visitor: Visitor, site: Site) -> Visit:
    """Return an operator's window at a desk."""
    return visitor(site.world.operator)


@pytest.fixture
def instructor(visitor: Visitor, site: Site) -> Visit:
    """Return an instructor's window on a phone."""
    return visitor(site.world.instructor, size=PHONE)


def _close_databases() -> None:
    """Let go of the database's file, so that all that was written is in it."""
    for engine in db.engines.values():
        engine.dispose()


def _session_of(app: Flask, person: Person) -> str:
    browser = Browser(app)
    browser.sign_in(person.email, person.password)
    cookie = browser.http.get_cookie("session")
    assert cookie
    return cookie.value
