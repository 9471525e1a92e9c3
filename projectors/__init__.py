"""The query side: read models built from the log, each by a projector of its own.

The runner, dead letters, and one folder per read model holding its schema, writer and queries.
It never imports `producers`: the two meet only in the log.
"""
