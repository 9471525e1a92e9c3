"""Measures how good the search is: its users, the written queries and the generated ones.

`people` makes the users, `table` runs the queries that people wrote, and `rates` those that it
generates with mistakes. Only `scripts.bench.query_side` and tests import this package.
"""
