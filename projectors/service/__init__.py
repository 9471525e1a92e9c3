"""`rollbook serve queries`: the queries, the log of events and the operations over HTTP.

It needs the extra `services`. `app` puts it together from the routes of `users`, `search`,
`events`, `read_models`, `dead_letters` and `jobs`. `stores` keeps the stores apart, `jobs` runs
what takes long, and `api` has requests and answers: an answer is the JSON that the command of the
same name prints. Only `scripts.serve_queries` imports this package, when the command is called.
"""
