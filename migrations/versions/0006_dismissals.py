"""Dismissed payloads: who decided that a rejected payload is not tried again, when, and why.

Review:
- The release before this one goes on as it did, and tries dismissed payloads again. This one, on the old
  schema, stores and keeps payloads; `flask ingest --rejected` and `flask rejected` ask for the upgrade.
- Locks: new columns without a default, which neither engine rewrites the table for.
- Downgrade: loses who dismissed what, when and why. The payloads stay, and are tried again.
- Roles: ingestion updates the new columns (`flask database roles --apply`).
"""

import sqlalchemy as sa
from alembic import op

from console.database import UtcDateTime

revision = "0006_dismissals"
down_revision = "0005_guards"
branch_labels = None
depends_on = None

COLUMNS = {"dismissed_at": UtcDateTime, "dismissed_by": sa.String, "dismissed_reason": sa.String}


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("rejected_payloads", sa.Column(name, kind(), nullable=True))


def downgrade() -> None:
    # The last one first, so that an upgrade after a downgrade that was stopped keeps their order.
    for name in reversed(COLUMNS):
        op.drop_column("rejected_payloads", name)
