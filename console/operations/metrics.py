"""Metrics for Prometheus: open to this machine, and with the token to others.

No label holds what a person wrote: routes, methods, states and reasons are the console's words.
"""

import hmac
import os
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import structlog
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

log = structlog.get_logger()

_memory = Gauge("console_memory_bytes", "Memory of all workers.", multiprocess_mode="livesum")
_connections = Gauge(
    "console_database_connections",
    "Connections of all workers to a database that are in use, or kept open for the next use.",
    ["database", "state"],
    multiprocess_mode="livesum",
)
_SAMPLE_SECONDS = 10


def sample_always(app: Flask) -> None:
    """Keep this process's gauges up to date: another worker may be asked for them."""

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
        version = GaugeMetricFamily("console_version", "The version that runs.", labels=["version"])
        version.add_metric([VERSION], 1)
        yield version
        found = health.look_for_metrics({"outbox": _outbox, "payloads": _payloads})
        usable = GaugeMetricFamily(
            "console_database_usable", "Whether a database answers as it should.", labels=["database"]
        )
        for check in found.checks:
            usable.add_metric([check.database], not check.problem)
        yield usable
        last_message = GaugeMetricFamily(
            "console_last_message_timestamp_seconds",
            "When the newest message of a channel was sent.",
            labels=["channel"],
        )
        for channel, moment in found.last_messages.items():
            last_message.add_metric([channel], moment.timestamp())
        yield last_message
        yield from found.answers.get("outbox", ())
        yield from found.answers.get("payloads", ())


def _outbox() -> list[Metric]:
    try:
        waiting, oldest = history.waiting()
    except health.FAILURES as error:
        log.error("outbox_not_counted", kind=type(error).__name__)
        return []
    return [
        GaugeMetricFamily(
            "console_audit_outbox_conversations",
            f"Conversations with audit events that wait to be moved, {history.MAX_COUNTED} at most.",
            waiting,
        ),
        GaugeMetricFamily(
            "console_audit_outbox_oldest_seconds",
            "How long the oldest of those events has waited.",
            (now() - oldest).total_seconds() if oldest else 0,
        ),
    ]


def _payloads() -> list[Metric]:
    try:
        waiting = ingestion.waiting_payloads()
    except health.FAILURES as error:
        log.error("payloads_not_counted", kind=type(error).__name__)
        return []
    return [
        GaugeMetricFamily(
            "console_waiting_payloads",
            f"Rejected payloads that are kept to be tried again, {ingestion.MAX_COUNTED} at most.",
            waiting,
        )
    ]


def _from_this_machine() -> bool:
    # A proxy on this machine is not the one who asks.
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
