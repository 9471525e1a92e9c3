"""Read models in PostgreSQL.

`store` serves any model (connections, tables, checkpoints, versions, the views that publish them);
`users` is the model of live users, with its queries and the export. `history` imports `store` only.
"""
