"""Read models in PostgreSQL.

`store` serves any read model: connections, tables, checkpoints, versions, published views. `users`
is the read model of current users, with its queries and the export. `history` imports `store` only.
"""
