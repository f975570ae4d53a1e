"""Engines and connections: one to write, one that can only read, one for ingestion.

Only this package contains SQL that differs between SQLite and PostgreSQL.

On PostgreSQL every transaction names the instructors it works for, and row-level security shows it only their
rows (docs/decisions/0009). Where pages read from a standby, users never miss their own writes
(docs/decisions/0010).
"""

from console.database.engines import EVERY_INSTRUCTOR, db, init_app, set_tenant_scope
from console.database.ownership import NotOwner, NotScrubbed, append_only_lifted, owning, scrub
from console.database.probes import lost_on_citus, missing_columns, take_room
from console.database.statements import (
    among,
    insert_ignoring,
    insert_numbered,
    json_append,
    json_rows,
    json_text,
    not_searched,
    numbered,
)
from console.database.transactions import (
    TransactionLost,
    ingesting,
    read_from,
    reading,
    savepoint,
    writing,
    written_until,
)
from console.database.types import Base, Guid, Json, UtcDateTime, id_text, new_id, now, read_id

__all__ = [
    "EVERY_INSTRUCTOR",
    "Base",
    "Guid",
    "Json",
    "NotOwner",
    "NotScrubbed",
    "TransactionLost",
    "UtcDateTime",
    "among",
    "append_only_lifted",
    "db",
    "id_text",
    "ingesting",
    "init_app",
    "insert_ignoring",
    "insert_numbered",
    "json_append",
    "json_rows",
    "json_text",
    "lost_on_citus",
    "missing_columns",
    "new_id",
    "not_searched",
    "now",
    "numbered",
    "owning",
    "read_from",
    "read_id",
    "reading",
    "savepoint",
    "scrub",
    "set_tenant_scope",
    "take_room",
    "writing",
    "written_until",
]
