"""`rollbook serve commands`: commands over HTTP.

`app` makes the service, `users` has the paths of one user, `commands` those of commands and
`stream` the many at once. `headers` and `bodies` read requests, `answers` writes what comes back.
The service has no state: what a caller sent is on the log, and any instance finds its answer. Only
`scripts.serve` imports this package, when the command is called.
"""
