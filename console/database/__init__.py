"""Engines and connections: one to write, one that can only read, one for ingestion.

Only this package contains SQL that differs between SQLite and PostgreSQL.

On PostgreSQL every transaction but ingestion's names the instructors it works for, and row-level security
shows it only their rows (docs/decisions/0009). Where pages read from a standby, users never miss their own
writes (docs/decisions/0010).
"""

from console.database.engines import ALL_INSTRUCTORS, Scope, app_engines, command_scope, db, init_app
from console.database.ownership import NotOwner, NotScrubbed, append_only_lifted, owning, scrub
from console.database.probes import lost_on_citus, missing_columns, take_room
from console.database.statements import (
    among,
    insert_ignoring,
    json_append,
    json_rows,
    json_text,
    not_searched,
    numbered,
)
from console.database.transactions import (
    Sent,
    TransactionLost,
    ingesting,
    open_snapshot,
    reading,
    savepoint,
    send_along,
    writing,
)
from console.database.types import Base, Guid, Json, UtcDateTime, id_text, new_id, now, read_id
