"""`rollbook serve queries`: the queries, the log of events and the operations over HTTP.

It needs the extra `services`. `app` puts it together from `users`, `search`, `events`,
`read_models`, `dead_letters` and `job_routes`; `pools` keeps the stores apart; `jobs` runs what
takes long. Whatever is answered as JSON is what the command of the same name prints with `--json`.
"""
