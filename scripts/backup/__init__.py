"""Copies the log to files, and fills an empty cluster from them.

The log is the only source of truth, and replication copies mistakes as well as data. A backup holds
what cannot be derived: every event, the answers that handlers still remember, and the commands that
are not decided. `cut` says which records belong to one consistent state; `take` copies them; `plan`
derives from them what each topic of the new cluster must hold, and `restore` writes it. Why this
is enough, and why no offset can collide, is in docs/decisions/0034.
"""
