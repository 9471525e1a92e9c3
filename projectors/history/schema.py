"""The table of every event, as statements that may be run again and again.

A row is an event: what changed, and the user as it was after. Of an erased user one row is left,
the `UserErased` event without anything personal; it stays for ever, and so does what it refuses.
"""

from typing import Final

from schemas.records import USER_ERASED

_USER_HISTORY: Final = """
CREATE TABLE IF NOT EXISTS {schema}.user_history (
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
CREATE INDEX IF NOT EXISTS user_history_erased ON {{schema}}.user_history (user_id)
INCLUDE (version) WHERE type = '{USER_ERASED}'"""

CHECKPOINTS: Final = "history_checkpoints"
CREATE: Final = (_USER_HISTORY, _ERASED)
DROP: Final = ("DROP TABLE IF EXISTS {schema}.user_history CASCADE",)
