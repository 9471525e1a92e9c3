"""The console: pages for people. It is a client of the two services and has no other access.

`application` has its routes, `pages` serves a page to a person who is signed in, `services` calls
the two services with that person's key, and most other modules have one page each. Only
`scripts.serve` imports this package, when the command is called; it imports `runtime` and
`schemas` only.
"""
