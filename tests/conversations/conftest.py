"""An instructor user at a browser, what a page shows them, and what a badge is drawn from."""

from uuid import UUID

import pytest
from flask.testing import FlaskCliRunner

from console.conversations import queries
from console.conversations.resolution import Subject
from console.database import command_scope, reading
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


def subjects(anna: Desk, conversation_id: UUID) -> set[Subject]:
    """Return what the list, the conversation's own page and `flask badge` draw its badge from."""
    ids = [anna.instructor_id]
    with reading(command_scope()) as connection:
        listed = queries.inbox(connection, instructor_id=anna.instructor_id, with_link=True).rows
        head = queries.conversation(
            connection, conversation_id=conversation_id, instructor_ids=ids, with_link=True
        )
        asked = queries.subjects(connection, conversation_ids=[str(conversation_id)])
    return {*asked, *(row.subject for row in (*listed, head) if row and str(row.id) == str(conversation_id))}
