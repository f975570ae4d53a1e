"""Where a sign-in leads: never off this site, as a browser reads the address, whatever `next` says."""

import re
from collections.abc import Iterator
from itertools import product
from urllib.parse import quote, urljoin, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from werkzeug.test import TestResponse

from testkit.databases import on_sqlite
from testkit.factories import PASSWORD, desk
from testkit.pages import Browser, fields_of

HERE = "http://localhost"
EVIL = "evil.example"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


def lands_on(location: str, page: str) -> str:
    """Return the origin that a browser goes to from `page`, by the URL standard's own steps.

    It drops white space around and tabs and line ends within, reads a backslash as a slash, and takes any
    number of slashes before the host of a web address, even none.
    """
    text = location.strip("".join(map(chr, range(0x21))))
    text = re.sub(r"[\t\n\r]", "", text)
    ours = urlsplit(page)
    scheme = ours.scheme
    if found := _SCHEME.match(text):
        scheme, text = found[1].lower(), text[found.end() :]
        if scheme not in ("http", "https"):
            return f"{scheme}:"
        text = text.replace("\\", "/")
        if scheme != ours.scheme and not text.startswith("//"):
            text = "//" + text
    text = text.replace("\\", "/")
    if not text.startswith("//"):
        return f"{scheme}://{ours.netloc}"
    return f"{scheme}://" + re.split(r"[/?#]", text.lstrip("/"))[0].rpartition("@")[2]


def hostile() -> Iterator[str]:
    """Yield addresses elsewhere in every disguise that we know of."""
    slashes = (
        "//",
        "///",
        "////",
        "/\\",
        "\\/",
        "\\\\",
        "/\\/",
        "\\\\\\",
        "/\t/",
        "\t//",
        "/\n/",
        "/\r\n/",
        " //",
    )
    hosts = (EVIL, f"{EVIL}:80", f"localhost@{EVIL}", f"localhost:80@{EVIL}", f"{EVIL}%00.localhost", "[::1]")
    yield from map("".join, product(slashes, hosts))
    schemes = ("http:", "https:", "HTTPS:", "ftp:", "ws:", "//https:", "ht\ttps:", " https:", "\x01https:")
    yield from map("".join, product(schemes, ("", "/", "//", "///", "\\\\"), (EVIL, f"localhost@{EVIL}")))
    scripts = ("alert(1)", "//%0aalert(1)", "\nalert(1)")
    programs = (
        "javascript:",
        "JavaScript:",
        "java\tscript:",
        "\x00javascript:",
        "data:text/html,",
        "vbscript:",
    )
    yield from map("".join, product(programs, scripts))
    for host in (EVIL, f"//{EVIL}", f"https://{EVIL}"):
        yield from (quote(host, safe=""), quote(quote(host, safe=""), safe=""), host.replace("/", "%2f"))
    for dot in ("\u3002", "\uff0e", "\uff61", "%2e"):
        yield f"//evil{dot}example"
    for slash in ("\u2044", "\u2215", "\uff0f", "\u29f8", "\uff3c", "\u29f5"):
        yield from (f"{slash}{slash}{EVIL}", f"/{slash}{EVIL}", f"{slash}/{EVIL}")
    for invisible in (
        "\x00",
        "\x08",
        "\x0b",
        "\x0c",
        "\x1f",
        "\x7f",
        "\x85",
        "\xa0",
        "\u200b",
        "\u2028",
        "\ufeff",
    ):
        yield from (f"{invisible}//{EVIL}", f"/{invisible}/{EVIL}", f"/{invisible}\\{EVIL}")
    for end in ("\r\n", "\n", "\r", "%0d%0a", "\u010d\u010a", "\u560d\u560a"):
        yield from (f"/{end}Location: https://{EVIL}", f"/{end}Set-Cookie: session=1", f"{end}//{EVIL}")
    yield from (
        EVIL,
        f".{EVIL}",
        f"@{EVIL}",
        f":@{EVIL}",
        f":80@{EVIL}",
        f"?//{EVIL}",
        f"#//{EVIL}",
        f";//{EVIL}",
    )
    yield from (
        "//",
        "///",
        "\\",
        "/\\",
        "//?",
        "//#",
        "//@",
        "http:",
        "https://",
        "//0x7f.1",
        "//0",
        "http://[",
        "//[",
    )
    yield from (f"/../{EVIL}", f"/.//{EVIL}", f"/..//{EVIL}", f"/%2e%2e//{EVIL}", f"/a/../..//{EVIL}")
    yield from (f"/.\\{EVIL}", f"/%09/{EVIL}", f"/%5c{EVIL}", f"/%2f{EVIL}", f"/@{EVIL}", f"/;@{EVIL}")
    yield from ("", " ", "\x00", "/" + "a" * 9000, "//" + "a." * 4000, "/\ud800", "\u202e//", "None", "[]")


HOSTILE = sorted(set(hostile()))


@pytest.fixture
def email(cli: FlaskCliRunner) -> str:
    """Return a user's e-mail address."""
    return desk(cli).operator.email


def sign_in(app: Flask, email: str, shown: str = "/login", **said: bytes) -> TestResponse:
    """Open the sign-in page at an address and send its form, with `said` in it."""
    browser = Browser(app)
    page = browser.http.get(shown)
    assert page.status_code == 200, shown
    assert page.location is None
    form = Browser.parse(page.text).select_one("main form[method=post]")
    assert form
    fields = {**fields_of(form), "email": email, "password": PASSWORD, **said}
    return browser.http.post("/login", data=fields)


def test_the_browser_of_these_tests_knows_the_tricks():
    elsewhere = (
        "//evil.example",
        "/\\evil.example",
        "\t//evil.example",
        "https:evil.example",
        "///evil.example/a",
    )
    assert {lands_on(address, HERE) for address in elsewhere} <= {f"http://{EVIL}", f"https://{EVIL}"}
    assert lands_on("java\tscript:alert(1)", HERE) == "javascript:"
    assert lands_on("/a//b?c=//d", HERE) == lands_on("http:a", HERE) == HERE
    assert sum(lands_on(address, HERE) != HERE for address in HOSTILE) > 150


def is_utf_8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


@on_sqlite
def test_no_value_leads_off_the_site(app: Flask, email: str):
    assert len(HOSTILE) >= 250
    for value in HOSTILE:
        raw = value.encode("utf-8", "surrogatepass")
        # As the page carries it from its address to its form, and as a foreign form would send it.
        answers = [sign_in(app, email, f"/login?next={quote(raw)}"), sign_in(app, email, next=raw)]
        if not is_utf_8(raw):
            assert answers.pop().status_code == 400, ascii(value)  # no browser sends such a form
        for answer in answers:
            assert answer.status_code == 303, ascii(value)
            assert lands_on(answer.location, f"{HERE}/login") == HERE, ascii(value)
            assert urljoin(HERE, answer.location).startswith(f"{HERE}/"), ascii(value)


@on_sqlite
def test_next_leads_to_a_path_of_this_site(app: Flask, email: str):
    for path in ("/", "/links", "/conversations?q=39%20333&before=a", "/links/1/customers?q=//x"):
        assert sign_in(app, email, f"/login?next={quote(path)}").location == path


@on_sqlite
def test_a_page_that_htmx_names_leads_nowhere_else(app: Flask, email: str):
    for value in HOSTILE:
        if not value.isprintable():
            continue  # no header has it
        named = value.encode().decode("latin-1")
        answer = Browser(app).http.get(
            "/badges?id=1", headers={"HX-Request": "true", "HX-Current-URL": named}
        )
        assert answer.status_code == 401, ascii(value)
        assert answer.headers["HX-Redirect"].startswith("/login?next="), ascii(value)
        came_back = sign_in(app, email, answer.headers["HX-Redirect"])
        assert lands_on(came_back.location, f"{HERE}/login") == HERE, ascii(value)
