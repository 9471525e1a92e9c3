"""The read model of the audit trail: every event of every user, in PostgreSQL.

`schema` has its table, `writer` fills it, `queries` reads it (`EventStore`), `as_of` derives a user
at a point in time. It imports `postgres.store` only; `catalog` and the command lines import it.
"""
