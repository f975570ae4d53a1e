"""Draw every view of the console on the demo data: `.venv/bin/python -m scripts.screenshots`.

Writes instance/screenshots/: each view in its states, in every size, light and dark, and as it prints. The
eight that README.md and docs/ show go to docs/screenshots/ as well. `--only NAME` draws one view.
"""

import argparse
import logging
import os
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from flask import Flask
from flask_migrate import upgrade
from playwright.sync_api import Browser, Page, sync_playwright
from werkzeug.serving import make_server

from console import create_app
from console.config import Settings, database_url, read_only

ROOT = Path(__file__).resolve().parent.parent
ALL = ROOT / "instance" / "screenshots"
SHOWN_DIRECTORY = ROOT / "docs" / "screenshots"
SHOWN = (
    "conversations-desk-light",
    "linking-desk-dark",
    "confirm-replacing-desk-light",
    "conversation-kinds-desk-dark",
    "conversations-phone-light",
    "conversation-kinds-phone-dark",
    "linking-phone-light",
    "conversations-phone-dark",
)
SIZES = {
    "desk": (1440, 900),
    "phone": (360, 740),
    "landscape": (740, 360),
    "tablet": (768, 1024),
    "wide": (2560, 1300),
}
TOUCHED = ("phone", "landscape", "tablet")
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

Lead = Callable[[Page], object]


@contextmanager
def serving(directory: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve the demo from a throwaway database; give its address and an operator's e-mail and password."""
    url = database_url(f"sqlite:///{directory}/console.db")
    settings = Settings(
        database_url=url,
        read_database_url=read_only(url),
        ingest_database_url=url,
        secret_key=secrets.token_urlsafe(48),
        customer_badge=True,
        log_level="error",
    )
    app = create_app(settings)
    sign_in = fill(app)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.port}", sign_in
    server.shutdown()
    server.server_close()


def fill(app: Flask) -> list[str]:
    """Migrate and add the demo data; return an operator's e-mail and password."""
    with app.app_context():
        upgrade()
        said = app.test_cli_runner().invoke(args=["demo"])
    if said.exit_code:
        sys.exit(said.stderr)
    return next(line.split()[1:] for line in said.stdout.splitlines() if line.startswith("operator"))


def draw(browser: Browser, address: str, sign_in: list[str], size: str, only: str) -> None:
    """Draw every view in one size, in each theme, and at a desk in forced colours and on paper."""
    width, height = SIZES[size]
    context = browser.new_context(
        base_url=address,
        viewport={"width": width, "height": height},
        reduced_motion="reduce",
        has_touch=size in TOUCHED,
        is_mobile=size in TOUCHED,
    )
    signed_in = False
    for name, lead in VIEWS.items():
        if only and name != only:
            continue
        page = context.new_page()  # Each without another's drafts.
        if not name.startswith("sign-in") and not signed_in:
            enter(page, sign_in)
            signed_in = True
        lead(page)
        page.wait_for_load_state("networkidle")
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            page.screenshot(path=ALL / f"{name}-{size}-{theme}.png")
        if size == "desk":
            page.emulate_media(color_scheme="light", forced_colors="active")
            page.screenshot(path=ALL / f"{name}-{size}-forced.png")
            page.emulate_media(media="print", color_scheme="light", forced_colors="none")
            page.screenshot(path=ALL / f"{name}-{size}-print.png", full_page=True)
        page.close()
    context.close()


def enter(page: Page, sign_in: list[str]) -> None:
    """Sign in."""
    page.goto("/login")
    page.get_by_label("E-mail").fill(sign_in[0])
    page.get_by_label("Password").fill(sign_in[1])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Conversations").wait_for()


def refuse(page: Page) -> None:
    """Be refused at the door."""
    page.goto("/login")
    page.get_by_label("E-mail").fill("guest@example.org")
    page.get_by_label("Password").fill("a guess")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("is wrong").wait_for()


def unanswered(page: Page) -> None:
    """Open the list while badges get no answer."""
    page.route("**/badges?*", lambda route: route.abort())
    page.goto("/conversations")
    page.get_by_text("Not every badge was loaded").wait_for()
    page.unroute("**/badges?*")


def conversation(preview: str) -> Lead:
    """Open the conversation whose last message has this text in it."""

    def lead(page: Page) -> None:
        page.goto("/conversations")
        page.locator(".rows li", has_text=preview).first.locator("a").click()
        page.locator("#messages").wait_for()

    return lead


def work(page: Page, text: str, linked: bool = False) -> None:
    """Open the first conversation of the queue whose row has this text in it."""
    page.goto("/links?linked=yes" if linked else "/links")
    address = page.locator(".queue li", has_text=text).first.locator(".who").get_attribute("href")
    page.goto(str(address))


def choose(page: Page, search: str = "", reason: str = "Confirmed by phone") -> None:
    """Search, choose the first customer, give a reason."""
    if search:
        page.get_by_role("searchbox").fill(search)
        page.get_by_role("radio").nth(1).wait_for()
    page.get_by_role("radio").last.check()
    page.locator("[name=reason]:visible").fill(reason)


def linking(page: Page) -> None:
    """Be about to link."""
    work(page, "+4917604069081")
    choose(page, "49176")


def incomplete(page: Page) -> None:
    """Send a form that lacks a customer."""
    work(page, "+972500000061")
    page.locator("[name=reason]:visible").fill("Confirmed by phone")
    page.get_by_role("button", name="Link customer").click()
    page.locator(".error").wait_for()


def linked(page: Page) -> None:
    """Look at a link and its history."""
    work(page, "Noted", linked=True)


def confirm(page: Page) -> None:
    """Be asked before a link is replaced."""
    work(page, "Noted", linked=True)
    page.get_by_text("Replace the customer").click()
    choose(page, "44770")
    page.get_by_role("button", name="Replace customer").click()
    page.get_by_role("dialog").wait_for()


def confirm_removing(page: Page) -> None:
    """Be asked before a link is removed."""
    work(page, "Noted", linked=True)
    page.get_by_text("Remove the link").click()
    page.locator("[name=reason]:visible").fill("This was another person")
    page.get_by_role("button", name="Remove link").click()
    page.get_by_role("dialog").wait_for()


def stale(page: Page) -> None:
    """Come too late: another window links while this one is open, and this one then sends its form."""
    work(page, "+971500000062")
    quicker = page.context.new_page()
    quicker.goto(page.url)
    choose(quicker, reason="Booking 2291 has this number")
    quicker.get_by_role("button", name="Link customer").click()
    quicker.locator(".done").wait_for()
    quicker.close()
    choose(page, "49176")
    page.get_by_role("button", name="Link customer").click()
    page.locator("dl.change").wait_for()


def saved(page: Page) -> None:
    """Have just linked."""
    work(page, "+4917604069081")
    choose(page, reason="Booking 2291 has this number")
    page.get_by_role("button", name="Link customer").click()
    page.locator(".done", has_text="Linked").wait_for()


VIEWS: dict[str, Lead] = {
    "sign-in": lambda page: page.goto("/login"),
    "sign-in-refused": refuse,
    "conversations": lambda page: page.goto("/conversations"),
    "conversations-found": lambda page: page.goto("/conversations?q=44"),
    "conversations-not-found": lambda page: page.goto("/conversations?q=999999"),
    "conversations-unanswered": unanswered,
    "conversation": conversation("Brilliant"),
    "conversation-kinds": conversation("Et voilà"),
    "desk": lambda page: page.goto("/links"),
    "desk-not-found": lambda page: page.goto("/links?q=999999"),
    "linking": linking,
    "linking-incomplete": incomplete,
    "linking-stale": stale,
    "linked": linked,
    "linked-now": saved,
    "confirm-replacing": confirm,
    "confirm-removing": confirm_removing,
    "not-found": lambda page: page.goto("/conversations/nothing"),
}


def main() -> None:
    """Draw them, and copy those that are shown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=VIEWS, help="draw this view alone, and copy nothing")
    parser.add_argument("--size", choices=SIZES, action="append", help="draw in this size alone")
    asked = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        sys.exit("Chromium is needed to draw the pictures: CHROMIUM= names one, make test installs one.")
    ALL.mkdir(parents=True, exist_ok=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for size in asked.size or SIZES:
            with tempfile.TemporaryDirectory() as directory, serving(Path(directory)) as (address, sign_in):
                draw(browser, address, sign_in, size, asked.only or "")
    if not (asked.only or asked.size):
        for path in SHOWN_DIRECTORY.glob("*.png"):
            path.unlink()
        for name in SHOWN:
            shutil.copy(ALL / f"{name}.png", SHOWN_DIRECTORY)


if __name__ == "__main__":
    main()
