"""The table of every event, as one version has it.

A row is an event: what changed, and the user as it was after. Of an erased user one row is left,
the `UserErased` event without anything personal; it stays for ever, and so does what it refuses.
"""

from typing import Final

from projectors.postgres.store.shape import Shape
from schemas.records import USER_ERASED

_USER_HISTORY: Final = """
CREATE TABLE {schema}.user_history (
    user_id uuid NOT NULL,
    version bigint NOT NULL,
    seq bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    type text NOT NULL,
    command_id text NOT NULL,
    changes jsonb,
    email text,
    email_key text,
    name text,
    age integer,
    created_at timestamptz,
    created_by text,
    PRIMARY KEY (user_id, version)
)"""

# Small, because few are erased: asked for every row that arrives.
_ERASED: Final = f"""
CREATE INDEX user_history_erased ON {{schema}}.user_history (user_id)
INCLUDE (version) WHERE type = '{USER_ERASED}'"""

SHAPE: Final = Shape(
    table="user_history",
    columns=(
        *("user_id", "version", "seq", "occurred_at", "type", "command_id", "changes"),
        *("email", "email_key", "name", "age", "created_at", "created_by"),
    ),
    # Every row that arrives is asked for in the index: nothing of it can be put off.
    tables=(_USER_HISTORY, _ERASED),
    put_off=("ANALYZE {schema}.user_history",),
    published=("user_history",),
)
