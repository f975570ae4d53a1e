"""Nothing typed is ever lost: random interruptions of the whole flow, with a server that is really killed."""

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, Route, expect

from console.config import Settings
from testkit.factories import PASSWORD, link_state, trail
from tests.browser.conftest import DESK, PATIENCE_MS, Site
from tests.browser.world import KNOWN, NEW, OTHER_CUSTOMER, THREAD, UNLINKED, USER_ID
from tests.serving import server

SEED = 13
CONVERSATIONS = (NEW, USER_ID, UNLINKED, KNOWN, THREAD, *(f"49151000000{number:02}" for number in range(20)))
POST = re.compile(r"/links/[^/]+(/unlink)?(\?.*)?$")


class Server:
    """A gunicorn that is killed and started again at one address."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self._settings, self._directory = settings, directory
        self.address = f"127.0.0.1:{server.free_port()}"
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        options, extra = ("--bind", self.address), {"WEB_CONCURRENCY": "1"}
        self._console = server.start(self._settings, self._directory, options=options, extra=extra)
        self._console.wait_until_up()
        self.up = True

    def kill(self) -> None:
        """Kill every process of it at once."""
        for pid in (self._console.process.pid, *self._console.workers()):
            os.kill(pid, signal.SIGKILL)
        self._console.process.wait()
        self.up = False


@dataclass
class Operator:
    """An operator who goes on after each interruption, and checks that all that was typed is still there."""

    page: Page
    server: Server
    site: Site
    chance: random.Random
    conversation_id: UUID = field(init=False)
    typed: dict[str, str] = field(default_factory=dict)
    removing: bool = False
    writes: int = 0

    def begin(self, sender: str, reason: str) -> None:
        """Open a conversation to link it, replace its customer or remove its link."""
        self.conversation_id = self.site.world.conversations[sender]
        self.reason, self.typed = reason, {}
        self.open()
        linked = self.page.locator(".current").count() > 0
        self.removing = linked and self.chance.random() < 0.4
        customers = [self.site.world.customer_ids[name] for name in (KNOWN, NEW, OTHER_CUSTOMER)]
        with self.site.app.app_context():
            now = link_state(self.conversation_id).customer_id
        self.customer_id = str(self.chance.choice([wanted for wanted in customers if wanted != now]))

    def open(self) -> None:
        """Open the conversation's form."""
        self.page.goto(f"/links/{self.conversation_id}")

    @property
    def steps(self) -> list[Callable[[], None]]:
        """Return what there is to do before the form is sent."""
        return [self.give_reason] if self.removing else [self.search, self.choose, self.give_reason]

    def search(self) -> None:
        """Type digits that all of the customers have in their numbers."""
        self.typed["q"] = self.chance.choice("47")
        self.form.locator("[name=q]").fill(self.typed["q"])
        self.settle()

    def choose(self) -> None:
        """Choose the customer."""
        self.typed["customer_id"] = self.customer_id
        self.form.locator(f"[name=customer_id][value='{self.customer_id}']").check()

    def give_reason(self) -> None:
        """Type the reason."""
        self.typed["reason"] = self.reason
        self.form.locator("[name=reason]").fill(self.reason)

    @property
    def form(self):
        """Return the form that is filled in; what it is folded into is opened."""
        forms = self.page.locator("form[action*='/unlink']" if self.removing else "form.link").first
        if not forms.is_visible():
            self.page.get_by_text("Remove the link" if self.removing else "Replace the customer").click()
        return forms

    def expect_what_was_typed(self) -> None:
        """Expect every field to hold what was typed into it; a reason outlives the link it was to remove."""
        there = self.removing and self.page.locator("#unlink-reason").count()
        form = self.page.locator("form:has(#unlink-reason)" if there else "form.link")
        for name, value in self.typed.items():
            if name == "customer_id":
                expect(form.locator(f"[name=customer_id][value='{value}']")).to_be_checked()
            else:
                expect(form.locator(f"[name={name}]")).to_have_value(value)

    def settle(self) -> None:
        """Wait for what is on its way, and clear away what stands between the operator and the form."""
        for _ in range(20):
            self.page.wait_for_timeout(250)
            state = self.look()
            if state == "form":
                return
            getattr(self, f"after_{state}")()
        raise AssertionError(f"still {state} at {self.page.url}")

    def look(self) -> str:
        """Return what the page is: a form, or what stands before it."""
        expect(self.page.locator(".htmx-request")).to_have_count(0)
        if self.page.url.startswith("chrome-error:"):
            return "no_page"
        for state, selector in (
            ("sign_out", ".sign-in [name=password]"),
            ("failure", "#failed:visible button"),
            ("question", "#asking:visible"),
            ("error_page", "main > .notice:visible"),
        ):
            if self.page.locator(selector).count():
                return state
        return "form"

    def after_no_page(self) -> None:
        """Load the page again once the server is back."""
        self.restart()
        self.open()

    def after_error_page(self) -> None:
        """Open the form again."""
        self.open()

    def after_sign_out(self) -> None:
        """Sign in where the console asks for it."""
        self.page.get_by_label("E-mail").fill(self.site.world.operator.email)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()

    def after_failure(self) -> None:
        """Try again once the server is back, or load the page again."""
        self.restart()
        self.expect_what_was_typed()
        if self.chance.random() < 0.5:
            self.page.locator("#failed button").click()
        else:
            self.page.reload()

    def after_question(self) -> None:
        """Confirm, which sends the form a second time."""
        self.page.locator("#asking .danger").click()

    def restart(self) -> None:
        """Start the server if it is down."""
        if not self.server.up:
            self.server.start()

    def save(self) -> None:
        """Send the form until it is saved; expect no field to lose what was typed."""
        deadline = time.monotonic() + 120
        while not self.is_done():
            assert time.monotonic() < deadline, "never saved"
            self.expect_what_was_typed()
            self.form.locator("[name=reason]").press("Control+Enter")
            self.settle()

    def is_done(self) -> bool:
        """Return whether it is saved or nothing is left to save; note how many events there must be."""
        told = " ".join(self.page.locator(".done, #restored:visible").all_inner_texts())
        self.writes = int(bool(re.search("(Linked|Replaced|Removed) |What you sent before was saved", told)))
        gone = self.removing and not self.page.locator(".current").count()
        return bool(self.writes) or "Nothing was changed" in told or gone


# What interrupts, before a step or while the form is being sent.


def the_session_expires(operator: Operator) -> None:
    """Let the browser lose its session."""
    operator.page.context.clear_cookies()


def another_browser_signs_out(operator: Operator) -> None:
    """End all sessions of the person."""
    with operator.site.app.app_context():
        run = operator.site.cli.invoke(args=["user", "sign-out", operator.site.world.operator.email])
        assert run.exit_code == 0, run.output


def the_server_is_killed(operator: Operator) -> None:
    """Kill the server; it comes back when the operator finds out."""
    operator.server.kill()


def the_page_is_loaded_again(operator: Operator) -> None:
    """Load the page again."""
    operator.page.reload()


def one_goes_elsewhere_and_back(operator: Operator) -> None:
    """Follow a link to another page, and go back."""
    operator.page.goto("/conversations")
    operator.page.go_back()


def a_second_window_changes_the_link(operator: Operator) -> None:
    """Change the link from another window."""
    with operator.site.app.app_context():
        desk = operator.site.world.desk(operator.site.cli)
        if link_state(operator.conversation_id).customer_id:
            desk.unlink(operator.conversation_id, reason="in a second window")
        else:
            desk.link(
                operator.conversation_id, operator.site.world.customer_ids[KNOWN], reason="in a second window"
            )


def a_second_window_types_and_leaves(operator: Operator) -> None:
    """Type something else for the same conversation in a second window, and close that."""
    second = operator.page.context.new_page()
    second.goto(f"/links/{operator.conversation_id}")
    if second.locator("[name=reason]:visible").count():
        second.locator("[name=reason]:visible").first.fill("typed in the second window")
    second.close()


def the_request_is_lost(operator: Operator) -> None:
    """Lose the next form before it arrives."""
    operator.page.route(POST, lambda route: _lose(route), times=1)


def the_answer_is_lost(operator: Operator) -> None:
    """Lose the answer to the next form."""
    operator.page.route(POST, lambda route: _lose(route, after=True), times=1)


def the_server_is_killed_before_it_saves(operator: Operator) -> None:
    """Kill the server as the form arrives."""
    operator.page.route(POST, lambda route: _lose(route, operator.server), times=1)


def the_server_is_killed_after_it_saves(operator: Operator) -> None:
    """Kill the server as it answers."""
    operator.page.route(POST, lambda route: _lose(route, operator.server, after=True), times=1)


def _lose(route: Route, killed: Server | None = None, *, after: bool = False) -> None:
    if route.request.method != "POST":
        return route.fallback()
    if after:
        route.fetch(max_redirects=0)
    if killed:
        killed.kill()
    return route.abort()


BETWEEN = (
    the_session_expires,
    another_browser_signs_out,
    the_server_is_killed,
    the_page_is_loaded_again,
    one_goes_elsewhere_and_back,
    a_second_window_changes_the_link,
    a_second_window_types_and_leaves,
)
WHILE_SENDING = (
    the_request_is_lost,
    the_answer_is_lost,
    the_server_is_killed_before_it_saves,
    the_server_is_killed_after_it_saves,
)


@pytest.fixture
def operator(
    chromium: Chromium, site: Site, site_settings: Settings, sessions: dict[str, str], tmp_path: Path
) -> Iterator[Operator]:
    """Return an operator in front of a server that can be killed."""
    running = Server(site_settings, tmp_path)
    url = f"http://{running.address}"
    context = chromium.new_context(base_url=url, viewport={"width": DESK[0], "height": DESK[1]})
    context.set_default_timeout(PATIENCE_MS)
    context.add_cookies([{"name": "session", "value": sessions[site.world.operator.email], "url": url}])
    page = context.new_page()
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    yield Operator(page, running, site, random.Random(SEED))
    context.close()
    if running.up:
        running.kill()
    assert failures == []


@pytest.mark.parametrize("interruptions", [22, pytest.param(200, marks=pytest.mark.faults)])
def test_nothing_typed_is_lost_however_the_flow_is_interrupted(operator: Operator, interruptions: int):
    chance, met = operator.chance, Counter[str]()
    kinds = [*BETWEEN, *WHILE_SENDING]
    for number in range(interruptions):
        interrupt = kinds[number % len(kinds)]
        sender = CONVERSATIONS[number % len(CONVERSATIONS)]
        reason = f"Said so on the phone, {number}"
        operator.begin(sender, reason)
        moment = chance.randrange(len(operator.steps) + 1)
        for place, step in enumerate(operator.steps):
            if place == moment and interrupt in BETWEEN:
                interrupt(operator)
                operator.settle()
                operator.expect_what_was_typed()
            step()
        if moment == len(operator.steps) or interrupt in WHILE_SENDING:
            interrupt(operator)
        operator.settle()
        operator.save()
        with operator.site.app.app_context():
            saved = [event for event in trail(operator.conversation_id) if event["reason"] == reason]
        assert len(saved) == operator.writes, reason
        met[interrupt.__name__] += 1
    print(*(f"{count:4} × {name.replace('_', ' ')}" for name, count in met.items()), sep="\n")  # noqa: T201
    assert met.total() == interruptions
