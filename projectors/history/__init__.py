"""The read model of the audit trail: every event of every user, in PostgreSQL.

`writer` fills it, `queries` answers from it (`EventStore`), `as_of` folds it into a user at a point
in time. It uses `postgres.store` only; `catalog` and the command lines use it.
"""
