"""The applications that are compared, each as something that gets a page of fifty conversations."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from html import unescape
from pathlib import Path

from flask import Flask
from sqlalchemy.engine import URL

from benchmarks import dataset
from benchmarks.databases import settings_for
from benchmarks.peers import admin_django, admin_flask, bare
from benchmarks.visitor import Visitor
from console import create_app

ROWS = 50

_BADGES = re.compile(r'hx-get="(/badges\?[^"]*)"')
_CSRF_TOKEN = re.compile(r'name="csrf_token"[^>]*value="([^"]*)"')


class Console:
    """The console on one database, with somebody signed in."""

    def __init__(self, url: URL, email: str = dataset.reader_email(0)) -> None:
        self.app: Flask = create_app(settings_for(url))
        self.visitor = Visitor(self.app)
        page = self.visitor.get("/login")
        token = _CSRF_TOKEN.search(page)
        fields = {"email": email, "password": dataset.PASSWORD, "csrf_token": token[1] if token else ""}
        if self.visitor.post("/login", fields) != 303:
            raise RuntimeError("nobody was signed in")

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


def flask_admin(url: URL) -> Callable[[], str]:
    """Return what gets the list from Flask-Admin."""
    visitor = Visitor(admin_flask.application(url))
    visitor.get(f"/sign-in/{dataset.reader_id(0)}")
    return lambda: visitor.get("/admin/conversation/")


def django_admin(databases: Mapping[str, URL]) -> dict[str, Callable[[], str]]:
    """Return what gets the list from Django admin, for each database. Once a process: so is Django set up."""
    visitor = Visitor(admin_django.application(databases, dataset.instructor_id(0)))
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]*)"', visitor.get("/admin/login/"))
    fields = {"username": admin_django.ADMIN, "password": admin_django.PASSWORD, "next": "/admin/"}
    visitor.post("/admin/login/", {**fields, "csrfmiddlewaretoken": token[1] if token else ""})

    def page(database: str) -> str:
        admin_django.use(database)
        return visitor.get("/admin/inbox/conversation/")

    return {name: partial(page, name) for name in databases}


def floor(database: Path) -> Callable[[], str]:
    """Return what gets list and badges from the bare function."""
    visitor = Visitor(bare.application(database))
    address = f"/conversations?instructor={dataset.instructor_id(0)}"

    def page_and_badges() -> str:
        page = visitor.get(address)
        ids = re.findall('id="row-([^"]*)"', page)
        return page + visitor.get("/badges?id=" + "&id=".join(ids))

    return page_and_badges
