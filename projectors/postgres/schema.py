"""The tables and views, as one list of statements that may be run again and again.

A user that is gone stays as a marker row (nulls and its version), so that an event that arrives
late cannot bring it back; the view hides it. The summary is a view over counters that the writer
moves in the transaction that moves the users: at every moment one statement can see, it equals a
full recomputation.

E-mail has no UNIQUE constraint: the order between partitions is arbitrary here, and the command
handler has already decided who holds an address.
"""

from typing import Final

from schemas.rules import SENIOR_FROM_YEARS, TEEN_BELOW_YEARS

_USERS: Final = f"""
CREATE TABLE IF NOT EXISTS {{schema}}.users (
    user_id uuid PRIMARY KEY,
    version bigint NOT NULL,
    email text,
    name text,
    age integer,
    created_at timestamptz,
    updated_at timestamptz NOT NULL,
    age_group text GENERATED ALWAYS AS (
        CASE WHEN age < {TEEN_BELOW_YEARS} THEN 'teen'
             WHEN age < {SENIOR_FROM_YEARS} THEN 'adult'
             WHEN age IS NOT NULL THEN 'senior' END
    ) STORED,
    search_tokens tsvector GENERATED ALWAYS AS (
        to_tsvector('simple', name || ' ' || email)
    ) STORED
)"""

_COUNTERS: Final = """
CREATE TABLE IF NOT EXISTS {schema}.counters (
    partition integer PRIMARY KEY,
    total_users bigint NOT NULL,
    age_years bigint NOT NULL,
    teens bigint NOT NULL,
    adults bigint NOT NULL,
    seniors bigint NOT NULL,
    last_updated timestamptz NOT NULL
)"""

_USER_VIEWS: Final = """
CREATE OR REPLACE VIEW {schema}.user_views AS
SELECT user_id AS id, email, name, age, age_group, created_at, updated_at, version, search_tokens
FROM {schema}.users
WHERE age IS NOT NULL"""

_USER_SUMMARY: Final = """
CREATE OR REPLACE VIEW {schema}.user_summary AS
SELECT coalesce(sum(total_users), 0)::bigint AS total_users,
       sum(age_years) / nullif(sum(total_users), 0) AS average_age,
       json_build_object(
           'teen', coalesce(sum(teens), 0)::bigint,
           'adult', coalesce(sum(adults), 0)::bigint,
           'senior', coalesce(sum(seniors), 0)::bigint
       ) AS users_by_age_group,
       max(last_updated) AS last_updated
FROM {schema}.counters"""

CREATE: Final = (
    _USERS,
    # Lists are paged by (age, id).
    "CREATE INDEX IF NOT EXISTS users_age ON {schema}.users (age, user_id)",
    "CREATE INDEX IF NOT EXISTS users_age_group ON {schema}.users (age_group)",
    "CREATE INDEX IF NOT EXISTS users_search_tokens ON {schema}.users USING gin (search_tokens)",
    _COUNTERS,
    _USER_VIEWS,
    _USER_SUMMARY,
)

CHECKPOINTS: Final = "checkpoints"

DROP: Final = (
    # In the order a writer takes its locks, so that the two cannot wait for each other.
    "DROP TABLE IF EXISTS {schema}.users CASCADE",
    "DROP TABLE IF EXISTS {schema}.counters CASCADE",
)
