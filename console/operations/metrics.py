"""Metrics for Prometheus: open to this machine, and with the token to others.

No label holds what a person wrote: routes, methods, states and reasons are the console's words.
"""

import hmac
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, abort, request
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Gauge, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy.pool import QueuePool

from console.config import VERSION
from console.database import db, now
from console.ingestion import service as ingestion
from console.linking import history
from console.operations import health
from console.permissions import public
from console.web.current import settings

blueprint = Blueprint("metrics", __name__)

_memory = Gauge("console_memory_bytes", "Memory of all workers.", multiprocess_mode="livesum")
_connections = Gauge(
    "console_database_connections",
    "Connections of all workers to a database that are in use, or kept open for the next use.",
    ["database", "state"],
    multiprocess_mode="livesum",
)
_SAMPLE_SECONDS = 10
# /metrics answers within about a second, whatever the databases do.
_ANSWER_SECONDS = 0.9


def sample_always(app: Flask) -> None:
    """Keep this process's gauges up to date: another worker may have to report them."""

    def sample() -> None:
        while True:
            with app.app_context():
                _sample()
            time.sleep(_SAMPLE_SECONDS)

    threading.Thread(target=sample, name="metrics", daemon=True).start()


def _sample() -> None:
    pages = Path("/proc/self/statm")
    if pages.exists():
        _memory.set(int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    for bind, engine in db.engines.items():
        if isinstance(engine.pool, QueuePool):
            _connections.labels(bind or "write", "in use").set(engine.pool.checkedout())
            _connections.labels(bind or "write", "kept").set(engine.pool.checkedin())


@blueprint.get("/metrics")
@public
def metrics() -> Response:
    """Answer with every metric of every worker, and with what the databases say now."""
    if not (_from_this_machine() or _has_token()):
        abort(403)
    _sample()
    counted = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        counted = CollectorRegistry()
        MultiProcessCollector(counted)  # type: ignore[no-untyped-call]  # prometheus-client is typed in part
    asked = CollectorRegistry()
    asked.register(_Databases())
    return Response(generate_latest(counted) + generate_latest(asked), content_type=CONTENT_TYPE_LATEST)


class _Databases(Collector):
    """What the databases say now: whether each can be used, the last message, and what waits."""

    def collect(self) -> Iterator[Metric]:
        """Ask them; what can't be had in time is left out."""
        yield _by("console_version", "The version that runs.", "version", {VERSION: 1})
        questions: dict[str, Callable[[], Any]] = {
            "outbox": partial(health.known, history.waiting, "outbox_not_counted"),
            "payloads": partial(health.known, ingestion.waiting_payloads, "payloads_not_counted"),
        }
        checks, answers = health.look(_ANSWER_SECONDS, questions)
        usable = {check.database: not check.problem for check in checks}
        yield _by("console_database_usable", "Whether a database answers as it should.", "database", usable)
        last = {channel: moment.timestamp() for channel, moment in answers["last_messages"].items()}
        text = "When the newest message of a channel was sent."
        yield _by("console_last_message_timestamp_seconds", text, "channel", last)
        if outbox := answers.get("outbox"):
            waiting, oldest = outbox
            text = f"Conversations with audit events that wait to be moved, {history.MAX_COUNTED} at most."
            yield GaugeMetricFamily("console_audit_outbox_conversations", text, waiting)
            age = (now() - oldest).total_seconds() if oldest else 0
            text = "How long the oldest of those events has waited."
            yield GaugeMetricFamily("console_audit_outbox_oldest_seconds", text, age)
        if (payloads := answers.get("payloads")) is not None:
            text = f"Rejected payloads that are kept to be tried again, {ingestion.MAX_COUNTED} at most."
            yield GaugeMetricFamily("console_waiting_payloads", text, payloads)


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    gauge = GaugeMetricFamily(name, text, labels=[label])
    for value_of, value in values.items():
        gauge.add_metric([value_of], value)
    return gauge


def _from_this_machine() -> bool:
    # A request that a proxy on this machine passes on is not from this machine.
    if "X-Forwarded-For" in request.headers or not request.remote_addr:
        return False
    return ip_address(request.remote_addr).is_loopback


def _has_token() -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return (
        (token := settings().metrics_token) is not None
        and scheme.lower() == "bearer"
        and hmac.compare_digest(given.encode(), token.encode())
    )
