"""Draw every view of the console on the demo data: `.venv/bin/python -m scripts.screenshots`.

Writes docs/screenshots/: each view in its states, at a desk and on a phone, light and dark, under 2 MB.
"""

import io
import itertools
import logging
import os
import secrets
import shutil
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import Flask
from flask_migrate import upgrade
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from werkzeug.serving import make_server

from console import create_app
from console.config import Settings, database_url, read_only

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "screenshots"
MOST_BYTES = 2_000_000
EXACT_COLOURS, OTHER_COLOURS = 48, 48
SIZES = {"desk": (1440, 900), "phone": (360, 740)}
THEMES = ("light", "dark")

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


def draw(browser: Browser, address: str, sign_in: list[str], size: str, theme: str) -> None:
    """Draw every view in one size and one theme."""
    width, height = SIZES[size]
    phone = size == "phone"
    context = browser.new_context(
        base_url=address,
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
        has_touch=phone,
        is_mobile=phone,
    )
    page = context.new_page()
    for name, lead in VIEWS.items():
        if name == "conversations":
            enter(page, sign_in)
        lead(page)
        page.wait_for_load_state("networkidle")
        save(page.screenshot(), PICTURES / f"{name}-{size}-{theme}.png")
    context.close()


def save(picture: bytes, path: Path) -> None:
    """Write a picture with few colours: the page's own as they are, those of emoji about right."""
    drawn = Image.open(io.BytesIO(picture)).convert("RGB")
    raw = drawn.tobytes()
    pixels = [raw[place : place + 3] for place in range(0, len(raw), 3)]
    colours = [colour for colour, _ in Counter(pixels).most_common()]
    exact, others = colours[:EXACT_COLOURS], colours[EXACT_COLOURS:]
    index = {colour: place for place, colour in enumerate(exact)}
    palette = b"".join(exact)
    if others:
        swatch = Image.frombytes("RGB", (len(others), 1), b"".join(others)).quantize(OTHER_COLOURS)
        index |= {colour: len(exact) + near for colour, near in zip(others, swatch.tobytes(), strict=True)}
        palette += bytes(swatch.getpalette() or [])
    page = Image.frombytes("P", drawn.size, bytes(index[colour] for colour in pixels))
    page.putpalette(palette)
    page.save(path, optimize=True)


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
    page.get_by_label("E-mail").fill("somebody@example.org")
    page.get_by_label("Password").fill("a guess")
    page.get_by_role("button", name="Sign in").click()
    page.locator(".error").wait_for()


def unanswered(page: Page) -> None:
    """Open the list while badges get no answer."""
    page.route("**/badges?*", lambda route: route.abort())
    page.goto("/conversations")
    page.get_by_role("alert").wait_for()
    page.unroute("**/badges?*")


def conversation(preview: str) -> Lead:
    """Open the conversation whose last message has this text in it."""

    def lead(page: Page) -> None:
        page.goto("/conversations")
        page.locator(".rows li", has_text=preview).first.locator("a").click()
        page.locator("#messages").wait_for()

    return lead


def work(page: Page, identifier: str, linked: bool = False) -> None:
    """Open a conversation of the queue."""
    page.goto("/links?linked=yes" if linked else "/links")
    address = page.locator(".queue li a", has_text=identifier).first.get_attribute("href")
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
    page.locator("[name=reason]:visible").fill("Was somebody else")
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
    """Draw them all; exit 1 where they take more room than they may."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        sys.exit("Chromium is needed to draw the pictures: CHROMIUM= names one, make test installs one.")
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir(parents=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for size, theme in itertools.product(SIZES, THEMES):
            with tempfile.TemporaryDirectory() as directory, serving(Path(directory)) as (address, sign_in):
                draw(browser, address, sign_in, size, theme)
    taken = sum(path.stat().st_size for path in PICTURES.iterdir())
    print(f"{len(list(PICTURES.iterdir()))} pictures in {PICTURES}, {taken / 1e6:.2f} MB.")
    if taken > MOST_BYTES:
        sys.exit(f"They may take {MOST_BYTES / 1e6:.0f} MB: lower EXACT_COLOURS.")


if __name__ == "__main__":
    main()
