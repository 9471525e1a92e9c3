"""Tables, checkpoint, versions and views of any read model in PostgreSQL.

A model gives `versions.PostgresVersions` its `Shape` and a writer. Nothing here knows what a user
is. `postgres.users` and `history` build on it.
"""
