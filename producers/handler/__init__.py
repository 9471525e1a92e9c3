"""The exactly-once loop around `producers.domain`.

One process per `instance`: it takes over partitions, restores each from the log, decides batches of
commands and commits each batch in one Kafka transaction. `start` wires the real Kafka clients; all
other modules are passed theirs. Only `producers.cli` imports this package; it imports `domain` and
never the client side.
"""
