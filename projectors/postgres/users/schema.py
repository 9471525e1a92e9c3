"""The tables and views of one version.

A user that is gone stays as a marker row (nulls and its version), so that an event that arrives
late cannot bring it back; the view hides it. The summary is a view over counters that the writer
moves in the transaction that moves the users: at every moment one statement can see, it equals a
full recomputation.

E-mail has no UNIQUE constraint: the order between partitions is arbitrary here, and the command
handler has already decided who holds an address.
"""

from typing import Final

from projectors.postgres.store.shape import PARTITION, Shape
from schemas.rules import SENIOR_FROM_YEARS, TEEN_BELOW_YEARS

_USERS: Final = f"""
CREATE TABLE {{schema}}.users (
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
CREATE TABLE {schema}.counters (
    partition integer PRIMARY KEY,
    total_users bigint NOT NULL,
    age_years bigint NOT NULL,
    teens bigint NOT NULL,
    adults bigint NOT NULL,
    seniors bigint NOT NULL,
    last_updated timestamptz NOT NULL
)"""

_USER_VIEWS: Final = """
CREATE VIEW {schema}.user_views AS
SELECT user_id AS id, email, name, age, age_group, created_at, updated_at, version, search_tokens
FROM {schema}.users
WHERE age IS NOT NULL"""

_USER_SUMMARY: Final = """
CREATE VIEW {schema}.user_summary AS
SELECT coalesce(sum(total_users), 0)::bigint AS total_users,
       sum(age_years) / nullif(sum(total_users), 0) AS average_age,
       json_build_object(
           'teen', coalesce(sum(teens), 0)::bigint,
           'adult', coalesce(sum(adults), 0)::bigint,
           'senior', coalesce(sum(seniors), 0)::bigint
       ) AS users_by_age_group,
       max(last_updated) AS last_updated
FROM {schema}.counters"""

# What the writer adds to the counters step by step, at once: a rebuild puts it off to its end.
_COUNT: Final = f"""
INSERT INTO {{schema}}.counters
    (partition, total_users, age_years, teens, adults, seniors, last_updated)
SELECT {PARTITION} AS partition,
       count(age), coalesce(sum(age), 0),
       count(*) FILTER (WHERE age_group = 'teen'),
       count(*) FILTER (WHERE age_group = 'adult'),
       count(*) FILTER (WHERE age_group = 'senior'),
       max(updated_at)
FROM {{schema}}.users GROUP BY 1"""  # noqa: S608 - of constants of ours

# Measured in CPU time of the server, microseconds a user. Live: 11 for one that is new, 16 to 20
# for one that changes; half of it are these indexes, a third the GIN. Without its list of pending
# entries it would be 18 and 27; a longer list saves one, and every search reads through the list.
# Building: 5.2, then 5 for what is put off, which parallel workers share. Unlogged tables would
# save 0.4 and cost 3.9 to be made safe at the end; COPY straight into the table would save 1.7, but
# to decode an event takes 7 meanwhile.
SHAPE: Final = Shape(
    table="users",
    columns=("user_id", "version", "email", "name", "age", "created_at", "updated_at"),
    tables=(_USERS, _COUNTERS, _USER_VIEWS, _USER_SUMMARY),
    put_off=(
        # Lists are paged by (age, id).
        "CREATE INDEX users_age ON {schema}.users (age, user_id)",
        "CREATE INDEX users_age_group ON {schema}.users (age_group)",
        "CREATE INDEX users_search_tokens ON {schema}.users USING gin (search_tokens)",
        _COUNT,
        "ANALYZE {schema}.users",
    ),
    published=("user_views", "user_summary"),
)
