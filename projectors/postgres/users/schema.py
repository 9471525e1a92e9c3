"""The tables and views of one version.

A deleted user stays as a marker row (nulls and a version), so that a late event cannot bring the
user back; the view hides it. The summary is a view over counters, which the writer updates in the
transaction that updates the users: in every snapshot it equals a full recount.

E-mail has no UNIQUE constraint: partitions are applied in any order, and the command handler has
already decided who holds an address.
"""

from typing import Final

from projectors.postgres.store.shape import PARTITION, TableShape
from schemas.fields.rules import SENIOR_FROM_YEARS, TEEN_BELOW_YEARS

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
    ) STORED
)"""

# Statistics are samples of the values, in a table that only superusers can clean. No query of ours
# needs them.
_NO_STATISTICS: Final = """
ALTER TABLE {schema}.users ALTER email SET STATISTICS 0, ALTER name SET STATISTICS 0"""

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
SELECT user_id AS id, email, name, age, age_group, created_at, updated_at, version
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

# Fills the counters at once, which the writer otherwise updates batch by batch; run by a rebuild.
_COUNT: Final = f"""
INSERT INTO {{schema}}.counters
    (partition, total_users, age_years, teens, adults, seniors, last_updated)
SELECT {PARTITION} AS partition,
       count(age), coalesce(sum(age), 0),
       count(*) FILTER (WHERE age_group = 'teen'),
       count(*) FILTER (WHERE age_group = 'adult'),
       count(*) FILTER (WHERE age_group = 'senior'),
       max(updated_at)
FROM {{schema}}.users GROUP BY 1"""  # noqa: S608 - our own constants

# With a column of words, a GIN index of it and an index of age groups, which no query used, the
# server needed 1.8 times the processor time for a user and twice the disk (docs/decisions/0044).
# Unlogged tables would save a rebuild a little, and cost more to be logged at the end. COPY into
# the table itself would save a little too, but decoding an event takes longer at the same time.
SHAPE: Final = TableShape(
    table="users",
    columns=("user_id", "version", "email", "name", "age", "created_at", "updated_at"),
    tables=(_USERS, _NO_STATISTICS, _COUNTERS, _USER_VIEWS, _USER_SUMMARY),
    deferred=(
        # Lists are paged by age and id.
        "CREATE INDEX users_age ON {schema}.users (age, user_id)",
        _COUNT,
        "ANALYZE {schema}.users",
    ),
    published=("user_views", "user_summary"),
    gone="email IS NULL",
    counted=("age",),
)
