"""Over TLS, as people reach the console: what a real browser makes of cookies, origins and the policy."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect
from werkzeug.serving import make_server

from console import create_app
from console.config import Settings
from console.database import db
from testkit.factories import PASSWORD, link_state
from tests.browser.conftest import PATIENCE_MS, arrived
from tests.browser.world import UNLINKED, World
from tests.serving.server import free_port

EVIL = "https://evil.example/"


@pytest.fixture
def url(site_settings: Settings) -> Iterator[str]:
    """Serve the console over TLS, and return its address."""
    port = free_port()
    url = f"https://localhost:{port}"
    app = create_app(replace(site_settings, public_url=url))
    server = make_server("127.0.0.1", port, app, threaded=True, ssl_context="adhoc")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    with app.app_context():
        yield url
        server.shutdown()
        thread.join()
        server.server_close()
        for engine in db.engines.values():
            engine.dispose()


@pytest.fixture
def page(chromium: Chromium, url: str) -> Iterator[Page]:
    """Open a window that takes the server's own certificate."""
    context = chromium.new_context(base_url=url, ignore_https_errors=True)
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def test_over_tls_a_person_can_link_and_another_site_cannot(
    page: Page, url: str, seeded: tuple[object, World]
):
    world = seeded[1]
    page.goto("/links")
    page.get_by_label("E-mail").fill(world.operator.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    arrived(page, "Linking desk")
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert cookies["__Host-session"]["secure"]
    assert cookies["__Host-session"]["httpOnly"]

    conversation = f"/links/{world.conversations[UNLINKED]}"
    page.goto(conversation)
    token = page.locator(".link [name=csrf_token]").input_value()
    forged = f'<form method="post" action="{url}/logout"><input name="csrf_token" value="{token}"></form>'
    page.route(EVIL, lambda route: route.fulfill(content_type="text/html", body=forged))
    page.goto(EVIL)
    page.locator("form").evaluate("form => form.submit()")
    arrived(page, "Sent from another site")

    page.goto(conversation)
    page.get_by_role("searchbox", name="Search a customer’s number").fill("447700")
    page.get_by_role("radio").first.check()
    page.locator(".link").get_by_label("Reason").fill("over TLS")
    page.get_by_role("button", name="Link customer").click()
    expect(page.locator(".done")).to_contain_text("Linked ")
    assert link_state(world.conversations[UNLINKED]).link_version == 1
