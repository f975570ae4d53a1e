"""The webhook that WhatsApp calls: `/webhooks/whatsapp`. Its answers are plain text, for programs."""

import hashlib
import hmac
from dataclasses import asdict

import structlog
from flask import Blueprint, Response, abort, request
from gunicorn.http.errors import ParseException

from console.ingestion.service import NotStored, ingest_payload
from console.permissions import public
from console.web.current import settings

blueprint = Blueprint("ingestion", __name__, url_prefix="/webhooks")

MAX_PAYLOAD_BYTES = 3 * 1024 * 1024
"""What WhatsApp sends at most."""

log = structlog.get_logger()


@blueprint.get("/whatsapp")
@public
def verify() -> Response:
    """Return the challenge to a caller who knows the verify token, when the webhook is set up."""
    token = settings().whatsapp_verify_token or abort(404)
    given = request.args.get("hub.verify_token", "")
    if request.args.get("hub.mode") != "subscribe" or not _same(given, token):
        return _refuse("verify token", "the verify token is not this console's", 403)
    return _plain(request.args.get("hub.challenge", ""), 200)


@blueprint.post("/whatsapp")
@public
def receive() -> Response:
    """Store a signed payload, and acknowledge it only then: what isn't acknowledged is sent again."""
    secret = settings().whatsapp_app_secret or abort(404)
    signature = request.headers.get("X-Hub-Signature-256")
    if not signature:
        return _refuse("signature", "X-Hub-Signature-256 is missing", 401)
    request.max_content_length = MAX_PAYLOAD_BYTES + 1  # where a stream would be cut and not refused
    try:
        raw = request.get_data()
    except (OSError, ParseException):  # gunicorn reads chunks, and finds their faults, only now
        return _refuse("body", "the body is invalid", 400)
    if len(raw) > MAX_PAYLOAD_BYTES:
        abort(413)
    expected = hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
    if not _same(signature, f"sha256={expected}"):
        return _refuse("signature", "X-Hub-Signature-256 is not this payload's", 403)
    try:
        counts = ingest_payload(raw)
    except NotStored:
        log.error("payload_not_stored", exc_info=True)
        return _plain("not stored: send it again", 503)
    log.info("payload_ingested", **asdict(counts))
    return _plain("ok", 200)


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _refuse(cause: str, text: str, status: int) -> Response:
    log.warning("request_refused", cause=cause)
    return _plain(text, status)


def _plain(text: str, status: int) -> Response:
    return Response(text, status, mimetype="text/plain")
