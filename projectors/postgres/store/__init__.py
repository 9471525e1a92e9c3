"""What every read model in PostgreSQL needs: tables, checkpoints, versions, published views.

A read model passes `versions.PostgresVersions` its `TableShape` and the class that writes to it.
`user_view` is a user as queries return it. `postgres.users` and `history` build on this package.
"""
