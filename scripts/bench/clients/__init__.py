"""Clients that wait for each answer: rollbook's, and those of the library `eventsourcing`.

`measure` says what is measured in which order, `closed_loop` what each client measures; `ours` and
`peer` run the two sides. Only `scripts.bench.cli` imports this package.
"""
