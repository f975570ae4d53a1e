"""Compression: what is compressed, for whom, and what must not be."""

import gzip
import re

import pytest

from tests.databases import on_sqlite
from tests.pages import Browser

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


def test_a_page_that_repeats_text_of_its_address_is_not_compressed(client: Browser):
    answer = client.http.get("/login?next=/conversations", headers=GZIP)
    assert b"/conversations" in answer.data
    assert "Content-Encoding" not in answer.headers


def test_the_length_of_a_compressed_page_says_little(client: Browser):
    client.http.get("/login")
    lengths = {len(client.http.get("/login", headers=GZIP).data) for _ in range(20)}
    assert max(lengths) - min(lengths) > 10


@pytest.mark.parametrize("name", ["console.css", "console.js"])
def test_style_sheets_and_scripts_are_compressed_and_still_known_to_a_cache(client: Browser, name: str):
    plain = client.http.get(f"/static/{name}")
    compressed = client.http.get(f"/static/{name}", headers=GZIP)
    assert gzip.decompress(compressed.data) == plain.data
    unchanged = {**GZIP, "If-None-Match": compressed.headers["ETag"]}
    assert client.http.get(f"/static/{name}", headers=unchanged).status_code == 304


def test_other_kinds_of_file_stay_as_they_are_and_head_has_no_body(client: Browser):
    assert "Content-Encoding" not in client.http.get("/static/icon.svg", headers=GZIP).headers
    assert client.http.head("/login", headers=GZIP).data == b""
