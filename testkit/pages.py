"""A visitor at a browser without scripting: gets pages, checks each, fills in and sends their forms."""

from typing import Any

import html5lib
from bs4 import BeautifulSoup, Tag
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse


class Client(FlaskClient):
    """A test client whose requests share nothing with the app context that a test holds open."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        """Send a request in a context of its own."""
        with self.application.app_context():
            return super().open(*args, buffered=True, **kwargs)


class Browser:
    """A test client that checks every page it gets."""

    def __init__(self, app: Flask) -> None:
        self.http = Client(app, app.response_class)

    def get_page(self, path: str, status: int = 200) -> BeautifulSoup:
        """Get a page and check it: status, valid HTML, one h1, its title, unique ids."""
        return self.check(self.http.get(path), status)

    def check(self, response: TestResponse, status: int) -> BeautifulSoup:
        """Check an answer that is a page, and return it parsed."""
        assert response.status_code == status, response.text
        html5lib.HTMLParser(strict=True).parse(response.text)
        page = BeautifulSoup(response.text, "html5lib")
        (heading,) = page.find_all("h1")
        title = page.find("title")
        assert title
        assert title.text.endswith(" · Customer Memory")
        assert heading.text.strip()
        ids = [element["id"] for element in page.find_all(id=True)]
        assert len(ids) == len(set(ids))
        return page

    @staticmethod
    def parse(text: str) -> BeautifulSoup:
        """Parse a fragment as a browser with scripting off would."""
        return BeautifulSoup(text, "html5lib")

    def submit(self, page: BeautifulSoup, /, path: str | None = None, **changes: Any) -> TestResponse:
        """Send the form that posts to `path`, or main's first, with `changes`; None drops a field."""
        selector = "main form[method=post]" if path is None else f'form[method=post][action="{path}"]'
        form = page.select_one(selector)
        assert form
        fields = {**fields_of(form), **changes}
        data = {name: value for name, value in fields.items() if value is not None}
        return self.http.post(str(form.get("action")), data=data)

    def sign_in(self, email: str, password: str) -> TestResponse:
        """Sign in through the form."""
        return self.submit(self.get_page("/login"), email=email, password=password)


def fields_of(form: Tag) -> dict[str, str]:
    """Return what a browser would send for an untouched form, buttons aside."""
    fields: dict[str, str] = {}
    for element in form.select("input[name], textarea[name]"):
        if element.get("type") in ("radio", "checkbox") and not element.has_attr("checked"):
            continue
        fields[str(element["name"])] = (
            str(element.get("value", "")) if element.name == "input" else element.text
        )
    return fields
