"""Compression: what is compressed, for whom, and what must not be."""

import gzip
import re

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from testkit.databases import on_sqlite
from testkit.factories import desk
from testkit.pages import Browser

pytestmark = on_sqlite

GZIP = {"Accept-Encoding": "gzip, deflate, br"}


def test_a_browser_that_takes_gzip_gets_the_same_page_compressed(client: Browser):
    plain = client.http.get("/login")
    compressed = client.http.get("/login", headers=GZIP)
    assert "Content-Encoding" not in plain.headers
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert len(compressed.data) < len(plain.data)
    token = re.compile(rb'name="csrf_token"[^>]*>')
    assert token.sub(b"", gzip.decompress(compressed.data)) == token.sub(b"", plain.data)
    assert all("Accept-Encoding" in answer.headers["Vary"] for answer in (plain, compressed))


@pytest.mark.parametrize(
    "query", ["next=/links", "find=393", "linked=no", "instructor=1", "q=", "unheard-of"]
)
@pytest.mark.parametrize("site", [None, "cross-site", "same-site", "whatever"])
def test_a_page_whose_query_another_site_may_have_chosen_is_not_compressed(
    client: Browser, query: str, site: str | None
):
    headers = GZIP if site is None else {**GZIP, "Sec-Fetch-Site": site}
    answer = client.http.get(f"/login?{query}", headers=headers)
    assert answer.status_code == 200
    assert "Content-Encoding" not in answer.headers
    assert client.http.get("/login", headers=headers).headers["Content-Encoding"] == "gzip"


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_a_page_that_the_person_or_one_of_our_pages_asked_for_is_compressed(client: Browser, site: str):
    answer = client.http.get("/login?next=/links", headers={**GZIP, "Sec-Fetch-Site": site})
    assert answer.headers["Content-Encoding"] == "gzip"


def test_no_page_repeats_anything_else_that_a_stranger_can_choose(app: Flask, cli: FlaskCliRunner):
    """Only the query: no part of a path, no header and no cookie is in a page that is compressed."""
    anna = desk(cli)
    client, guess = Browser(app), "guessguessguess"
    client.sign_in(anna.operator.email, anna.operator.password)
    conversation_id = anna.conversation("393331234567")
    client.http.set_cookie(guess, guess)
    given = dict.fromkeys(["Referer", "HX-Current-URL", "HX-Target", "X-Forwarded-Host", "User-Agent"], guess)
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and rule.endpoint != "static":
            for value in (str(conversation_id), guess):
                path = rule.rule.replace("<id:conversation_id>", value)
                assert guess not in client.http.get(path, headers=given).text, path


def test_the_length_of_a_compressed_page_says_little(client: Browser):
    client.http.get("/login")
    lengths = {len(client.http.get("/login", headers=GZIP).data) for _ in range(20)}
    assert max(lengths) - min(lengths) > 10


@pytest.mark.parametrize("name", ["console.css", "console.js", "desk.js"])
def test_style_sheets_and_scripts_are_compressed_and_still_known_to_a_cache(client: Browser, name: str):
    plain = client.http.get(f"/static/{name}")
    compressed = client.http.get(f"/static/{name}", headers=GZIP)
    assert gzip.decompress(compressed.data) == plain.data
    unchanged = {**GZIP, "If-None-Match": compressed.headers["ETag"]}
    assert client.http.get(f"/static/{name}", headers=unchanged).status_code == 304


def test_other_kinds_of_file_stay_as_they_are_and_head_has_no_body(client: Browser):
    assert "Content-Encoding" not in client.http.get("/static/icon.svg", headers=GZIP).headers
    assert client.http.head("/login", headers=GZIP).data == b""
