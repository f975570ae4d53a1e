"""Webhook payloads for tests, and what ingestion made of them."""

import json
from pathlib import Path
from typing import Any

from testkit.databases import rows

ACCOUNT, OTHER_ACCOUNT = "100000000000001", "100000000000002"
SENDER = "393330000001"
SAMPLES = Path(__file__).parent / "samples" / "whatsapp.jsonl"


def message(external_id: str = "wamid.1", sender: str | None = SENDER, **fields: Any) -> dict[str, Any]:
    """Return a text message; `fields` add to it, or replace or (None) remove what is there."""
    whole = {
        "from": sender,
        "id": external_id,
        "timestamp": "1767225600",
        "type": "text",
        "text": {"body": "Ciao"},
        **fields,
    }
    return {name: value for name, value in whole.items() if value is not None}


def payload(*messages: Any, account: str = ACCOUNT, **value: Any) -> bytes:
    """Return a webhook payload with messages to one account."""
    change = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "12025550100", "phone_number_id": account},
        "messages": list(messages),
        **value,
    }
    entry = {"id": "200000000000001", "changes": [{"field": "messages", "value": change}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def messages() -> list[tuple[Any, ...]]:
    """Return every message, in order.

    As (instructor, identifier, status, external id, kind, body, sent at, direction).
    """
    return rows(
        "SELECT i.name, c.customer_identifier, c.status, m.external_id, m.kind, m.body, m.sent_at,"
        " m.direction "
        "FROM messages m JOIN conversations c ON c.id = m.conversation_id "
        "JOIN instructors i ON i.id = m.instructor_id AND i.id = c.instructor_id "
        "WHERE m.channel = 'whatsapp' AND c.channel = 'whatsapp' "
        "ORDER BY m.external_id"
    )


def conversations() -> list[tuple[Any, ...]]:
    """Return (instructor, identifier, status, last message at) of every conversation, in order."""
    return rows(
        "SELECT i.name, c.customer_identifier, c.status, c.last_message_at "
        "FROM conversations c JOIN instructors i ON i.id = c.instructor_id "
        "ORDER BY i.name, c.customer_identifier, c.last_message_at, c.status"
    )


def rejected() -> list[tuple[str, str]]:
    """Return (reason, payload) of every rejected payload, in the order they came."""
    return [
        (reason, kept) for reason, kept in rows("SELECT reason, payload FROM rejected_payloads ORDER BY id")
    ]


def everything() -> tuple[list[tuple[Any, ...]], ...]:
    """Return all that ingestion stores, ids and the times it was stored at aside."""
    kept = rows("SELECT reason, payload, digest FROM rejected_payloads ORDER BY digest")
    return conversations(), messages(), kept
