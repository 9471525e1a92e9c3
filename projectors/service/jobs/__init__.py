"""Operations that take long: each runs in a process of its own, one at a time.

`operations` says what they do, `worker` runs one in its process, `jobs` starts, lists and stops
them, and `routes` has their routes. `projectors.service` imports this package;
`scripts.serve_queries`, which adds the operation `verify`, imports the type `Operation`. No other
code does.
"""
