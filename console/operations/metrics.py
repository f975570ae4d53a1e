"""Metrics for Prometheus: open to this machine, and with the token to others."""

import hmac
import os
import time
from ipaddress import ip_address

from flask import Blueprint, Flask, Response, abort, current_app, g, request
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from console.config import Settings
from console.permissions import public

blueprint = Blueprint("metrics", __name__)

_requests = Histogram("console_request_seconds", "Time to answer.", ["method", "route", "status"])


def init_app(app: Flask) -> None:
    """Time every request."""

    @app.after_request
    def observe(response: Response) -> Response:
        if "started" in g:
            route = request.url_rule.rule if request.url_rule else "none"
            seconds = time.perf_counter() - g.started
            _requests.labels(request.method, route, str(response.status_code)).observe(seconds)
        return response


@blueprint.get("/metrics")
@public
def metrics() -> Response:
    """Answer with every metric of every worker."""
    if not (_from_this_machine() or _has_token()):
        abort(403)
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # prometheus-client is typed in part
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _from_this_machine() -> bool:
    # A proxy on this machine is not the one who asks.
    if "X-Forwarded-For" in request.headers or not request.remote_addr:
        return False
    return ip_address(request.remote_addr).is_loopback


def _has_token() -> bool:
    settings: Settings = current_app.config["CONSOLE"]
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return settings.metrics_token is not None and hmac.compare_digest(
        given.encode(), settings.metrics_token.encode()
    )
