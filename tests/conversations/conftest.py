"""An instructor user at a browser, what a page shows them, and three conversations."""

from uuid import UUID

import pytest
from flask.testing import FlaskCliRunner

from testkit.factories import Desk, user
from testkit.pages import Browser


@pytest.fixture
def reader(client: Browser, cli: FlaskCliRunner, anna: Desk) -> Browser:
    """Return an instructor user of Anna's at a browser."""
    person = user(cli, anna.instructor_id, "instructor")
    client.sign_in(person.email, person.password)
    return client


def shown(browser: Browser, path: str) -> list[str]:
    """Return the ids of the conversations a page lists, in its order."""
    page = browser.get_page(path)
    links = [str(a["href"]) for a in page.select("main a[href^='/conversations/']")]
    return [link.removeprefix("/conversations/").split("?")[0] for link in links]


def three(anna: Desk) -> tuple[UUID, UUID, UUID]:
    """Return a known, a new and an unlinked conversation."""
    known, new, unlinked = (anna.conversation(f"39333000000{number}") for number in range(3))
    anna.link(known)
    anna.link(new)
    anna.unlink(new)
    return known, new, unlinked
