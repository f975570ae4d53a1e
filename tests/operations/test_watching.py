"""The dashboard and the alert rules that ship: every metric, label and value in them is the console's."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import yaml
from flask import Flask
from flask.testing import FlaskCliRunner
from prometheus_client.parser import text_string_to_metric_families

from console import create_app
from console.config import ROOT, Settings
from console.ingestion.service import ingest_payload
from console.permissions import public
from testkit.databases import on_postgresql
from testkit.factories import desk
from testkit.pages import Browser

DASHBOARD = ROOT / "docs" / "operations" / "dashboard.json"
ALERTS = ROOT / "docs" / "operations" / "alerts.yml"
OPERATIONS = ROOT / "docs" / "operations.md"

# What Prometheus adds by itself.
ADDED = {"job", "instance"}

_KEYWORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "offset", "bool"}
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"\b([a-zA-Z_:][\w:]*)\s*(?:\{([^}]*)\})?(?![\w(\s]*\()")
_MATCHER = re.compile(r'\s*(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"\s*(?:,|$)')


@dataclass(frozen=True)
class Query:
    """A PromQL expression, and where it stands."""

    place: str
    text: str

    def selectors(self) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
        """Give each metric it reads, with the matchers on it."""
        text = re.sub(r"\[[^]]*\]", "", _GROUPING.sub("", self.text))
        for name, inside in _SELECTOR.findall(text):
            if name not in _KEYWORDS:
                assert _MATCHER.sub("", inside) == "", self.text
                yield name, _MATCHER.findall(inside)

    def grouped_by(self) -> set[str]:
        """Return the labels it groups by."""
        named = ",".join(_GROUPING.findall(self.text)).split(",")
        return {label.strip() for label in named if label.strip()}


def panels() -> list[dict[str, Any]]:
    """Return the dashboard's panels that show something."""
    board = json.loads(DASHBOARD.read_text())
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    found = yaml.safe_load(ALERTS.read_text())
    return [rule for group in found["groups"] for rule in group["rules"]]


def queries() -> list[Query]:
    """Return every expression of both."""
    drawn = [Query(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
    return [*drawn, *(Query(rule["alert"], rule["expr"]) for rule in rules())]


@pytest.fixture
def known(
    app: Flask, client: Browser, cli: FlaskCliRunner, settings: Settings
) -> dict[str, dict[str, set[str]]]:
    """Return the metrics of a console to which everything has happened once: their labels and the values."""

    @public
    def fail() -> str:
        raise RuntimeError

    app.add_url_rule("/failing", "failing", fail)
    anna = desk(cli)
    anna.conversation("393331234567")
    for path in ("/failing", "/login/oidc", "/login/oidc/callback"):
        client.http.get(path)
    client.sign_in(anna.operator.email, "wrong")
    client.sign_in(anna.operator.email, anna.operator.password)
    secret = replace(settings, whatsapp_app_secret="x")
    for headers in ({}, {"X-Hub-Signature-256": "sha256=0"}):
        Browser(create_app(secret)).http.post("/webhooks/whatsapp", data=b"{}", headers=headers)
    ingest_payload(b"no JSON")
    for path in ("/healthz", "/readyz", "/metrics"):
        client.http.get(path)
    elsewhere = replace(settings, read_database_url=settings.read_database_url.set(port=1))
    found: dict[str, dict[str, set[str]]] = {"up": {}}
    for console in (app, create_app(elsewhere)):
        told = Browser(console).http.get("/metrics").text
        for family in text_string_to_metric_families(told):
            for sample in family.samples:
                labels = found.setdefault(sample.name, {})
                for label, value in sample.labels.items():
                    labels.setdefault(label, set()).add(value)
    return found


@on_postgresql
def test_they_name_metrics_labels_and_values_that_the_console_has(known: dict[str, dict[str, set[str]]]):
    checked = 0
    for query in queries():
        grouped = query.grouped_by()
        for name, matchers in query.selectors():
            assert name in known, query
            labels = known[name]
            assert grouped <= labels.keys() | ADDED, query
            for label, how, value in matchers:
                checked += 1
                if label in ADDED:
                    continue
                assert label in labels, query
                parts = value.split("|") if "~" in how else [value]
                for part in parts:
                    assert any(
                        re.fullmatch(part, item) if "~" in how else part == item for item in labels[label]
                    ), query
    assert checked > 40


def test_the_reading_of_queries_finds_what_is_in_them():
    query = Query("", 'sum by (le, x) (rate(a_b{c="d",e=~"f|g"}[5m])) / on (y) max(h) > 1 or absent(up)')
    assert list(query.selectors()) == [("a_b", [("c", "=", "d"), ("e", "=~", "f|g")]), ("h", []), ("up", [])]
    assert query.grouped_by() == {"le", "x", "y"}


def test_every_metric_of_the_console_is_on_the_dashboard(app: Flask):
    told = Browser(app).http.get("/metrics").text
    shown = {name for query in queries() for name, _ in query.selectors()}
    names = {family.name for family in text_string_to_metric_families(told)}
    ours = {name for name in names if name.startswith("console_") and not name.endswith("_created")}
    assert len(ours) > 7
    assert not {name for name in ours if not any(item.startswith(name) for item in shown)}


def test_the_dashboard_can_be_imported():
    board = json.loads(DASHBOARD.read_text())
    shown = panels()
    assert len(shown) >= 12
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    variables = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board["panels"])))
    assert used <= variables | {"__rate_interval"}
    for panel in shown:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["description"].endswith(".")
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    corners = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]}
    assert len(corners) == len(board["panels"])


def test_every_alert_says_what_it_means_and_is_in_the_handbook():
    handbook = OPERATIONS.read_text()
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket"), rule
        assert rule["annotations"]["summary"], rule
        assert rule["annotations"]["description"].endswith("."), rule
        assert f"`{rule['alert']}`" in handbook, rule


@pytest.mark.parametrize("event", sorted(set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", ALERTS.read_text()))))
def test_the_lines_and_settings_that_the_alerts_point_at_exist(event: str):
    sources = "".join(path.read_text() for path in (ROOT / "console").rglob("*.py"))
    name = re.sub(r"^console_|_total$|_count$|_bucket$", "", event)
    prometheus = {"group_left", "histogram_quantile"}
    assert event in prometheus or name in sources or event in sources
