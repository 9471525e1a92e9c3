"""Which login may do what on each server: one table, translated for the servers' own tools.

`table` states what each role needs. `kafka`, `postgres`, `elasticsearch` and `registry` turn that
into what the server is given: access control entries, SQL, roles, rules for a proxy. Any package
above `runtime` may import it; nothing else in `runtime` does.
"""
