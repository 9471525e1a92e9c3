"""The read model of current users in PostgreSQL: one row per user, markers for deleted users.

`schema` has its tables, `writer` fills them, `queries` reads them, `export` streams all users from
one snapshot. `catalog` and the command lines use this package.
"""
