"""`rollbook serve queries`: the queries, the log of events and the operations over HTTP.

It needs the extra `services`. `app` puts it together from the routes of `users`, `search`,
`events`, `read_models`, `dead_letters` and `jobs`. `stores` keeps the stores apart, `jobs` runs
what takes long, `api` has what is asked and answered: the JSON that the command of the same name
prints.
"""
