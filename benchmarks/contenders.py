"""The applications that are compared, each as something that gets a page of fifty conversations by number."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from html import unescape
from itertools import islice
from pathlib import Path
from urllib.parse import urlencode
from uuid import UUID

from flask import Flask
from sqlalchemy.engine import URL

from benchmarks import dataset
from benchmarks.databases import settings_for
from benchmarks.peers import admin_django, admin_flask, bare
from benchmarks.visitor import Visitor
from console import create_app
from console.conversations.cursors import Cursor

ROWS = 50

Pages = Callable[[int], str]
"""Gets a page of the list, of which 0 is the newest."""
Place = tuple[datetime, UUID]

_BADGES = re.compile(r'hx-get="(/badges\?[^"]*)"')
_CSRF_TOKEN = re.compile(r'name="csrf_token"[^>]*value="([^"]*)"')


class Console:
    """The console on one database, with a signed-in user."""

    def __init__(self, url: URL, email: str = dataset.reader_email(0)) -> None:
        self.app: Flask = create_app(settings_for(url))
        self.visitor = Visitor(self.app)
        page = self.visitor.get("/login")
        token = _CSRF_TOKEN.search(page)
        fields = {"email": email, "password": dataset.PASSWORD, "csrf_token": token[1] if token else ""}
        if self.visitor.post("/login", fields) != 303:
            raise RuntimeError("the sign-in failed")

    def page_and_badges(self, address: str = "/conversations") -> str:
        """Get a list as a browser does: the page, then the badges it asks for."""
        page = self.visitor.get(address)
        return page + self.visitor.get(badges_address(page))


def badges_address(page: str) -> str:
    """Return what a list asks for once it is loaded."""
    found = _BADGES.search(page)
    if not found:
        raise RuntimeError("the page asks for no badges")
    return unescape(found[1])


def places(size: int) -> list[Place]:
    """Return where each page of the largest instructor's list ends, newest first, the last one left out."""
    lasts = islice(dataset.of_largest(size), ROWS - 1, None, ROWS)
    return [(dataset.moment(number, size), dataset.conversation_id(number)) for number in lasts]


def console_pages(url: URL, size: int) -> Pages:
    """Return what gets list and badges from the console."""
    console, ends = Console(url), places(size)
    addresses = ["/conversations", *(f"/conversations?before={Cursor(*end)}" for end in ends)]
    return lambda page: console.page_and_badges(addresses[page])


def link_form(url: URL, size: int) -> Pages:
    """Return what gets the link form of another conversation each time, beside its page of the queue."""
    desk = Console(url, dataset.operator_email(0))
    ends = places(size)
    addresses = [f"/links/{end[1]}?before={Cursor(*end)}" for end in ends]
    return lambda page: desk.visitor.get(addresses[page])


def flask_admin(url: URL) -> Pages:
    """Return what gets the list from Flask-Admin."""
    visitor = Visitor(admin_flask.application(url))
    visitor.get(f"/sign-in/{dataset.reader_id(0)}")
    return lambda page: visitor.get(f"/admin/conversation/?page={page}")


def django_admin(databases: Mapping[str, URL]) -> dict[str, Pages]:
    """Return what gets the list from Django admin, for each database. Once a process: so is Django set up."""
    visitor = Visitor(admin_django.application(databases, dataset.instructor_id(0)))
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]*)"', visitor.get("/admin/login/"))
    fields = {"username": admin_django.ADMIN, "password": admin_django.PASSWORD, "next": "/admin/"}
    visitor.post("/admin/login/", {**fields, "csrfmiddlewaretoken": token[1] if token else ""})

    def get(database: str, page: int) -> str:
        admin_django.use(database)
        return visitor.get(f"/admin/inbox/conversation/?p={page + 1}")

    return {name: partial(get, name) for name in databases}


def floor(database: Path, size: int) -> Pages:
    """Return what gets list and badges from the bare function."""
    visitor, ends = Visitor(bare.application(database)), places(size)
    keys = [
        ("9999-12-31", "-"),
        *((f"{moment:%Y-%m-%d %H:%M:%S.%f}", str(row_id)) for moment, row_id in ends),
    ]
    fields = [{"instructor": dataset.instructor_id(0), "moment": key[0], "id": key[1]} for key in keys]
    addresses = [f"/conversations?{urlencode(each)}" for each in fields]

    def page_and_badges(page: int) -> str:
        shown = visitor.get(addresses[page])
        ids = re.findall('id="row-([^"]*)"', shown)
        return shown + visitor.get("/badges?id=" + "&id=".join(ids))

    return page_and_badges
