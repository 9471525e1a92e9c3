"""The read model of live users in PostgreSQL: one row per user, and markers of deleted ones.

`schema` is its shape, `writer` fills it, `queries` answers from it, `export` streams all users in
one consistent snapshot. `catalog` and the command lines use it.
"""
