"""${message}

Revises: ${down_revision | comma,n}

Review, and answer here before merging:
- Can the release before this one run on the new schema, and this one on the old?
- What does it lock, for how long, at ten million conversations? (`make bench-migrations` tells)
- Can it be run again, and down, from wherever it was stopped? (on PostgreSQL each operation of Alembic can,
  by way of online.py; what `op.execute` runs has to)
- What does the downgrade lose, and is that tested with data?
- Does it create a customer or a link? It may not (CM-1, CM-2.3).
- Do the roles of production need a new grant?
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
