"""The table of every event, in one version.

A row is an event: what it changed, the user after it, and who asked for it. Who asked is null in
events before format 2 of the log. A version that an earlier release built lacks that column, and
goes without it until a rebuild replaces the version (docs/decisions/0027).

An erased user has one row, the event `UserErased` without personal data. It stays for ever, and
older events of the user are never stored again.
"""

from typing import Final

from projectors.postgres.store.shape import TableShape
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
    issued_by text,
    PRIMARY KEY (user_id, version)
)"""

# Statistics are samples of the values, in a table that only superusers can clean.
_NO_STATISTICS: Final = """
ALTER TABLE {schema}.user_history ALTER email SET STATISTICS 0, ALTER email_key SET STATISTICS 0,
ALTER name SET STATISTICS 0, ALTER changes SET STATISTICS 0"""

# Looked up for every incoming row; small, because few users are erased.
_ERASED: Final = f"""
CREATE INDEX user_history_erased ON {{schema}}.user_history (user_id)
INCLUDE (version) WHERE type = '{USER_ERASED}'"""

SHAPE: Final = TableShape(
    table="user_history",
    columns=(
        *("user_id", "version", "seq", "occurred_at", "type", "command_id", "changes"),
        *("email", "email_key", "name", "age", "created_at", "created_by", "issued_by"),
    ),
    # Every incoming row is looked up in the indexes, so none of them can be deferred.
    tables=(_USER_HISTORY, _NO_STATISTICS, _ERASED),
    deferred=("ANALYZE {schema}.user_history",),
    published=("user_history",),
    gone=f"type = '{USER_ERASED}'",
)
