"""The audit trail as a read model: every event of every user in PostgreSQL, by user and version.

Its table (`schema`), what keeps it up to date and erases (`writer`), and what people ask of it
(`queries`: `EventStore`). It has its own checkpoint and consumer group, beside the model of users.
"""
