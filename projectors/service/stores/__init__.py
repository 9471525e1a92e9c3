"""How the service calls the stores: each through its own threads or connections, with a time limit.

`pool` has the threads, `gets` lets single users share a query, `waits` waits for tokens, and
`connections` opens them all. Routes use `connections` only.
"""
