"""The exactly-once loop around `producers.domain`.

One process per `instance`: it takes partitions over, restores them from the log, decides batches
and commits each in one Kafka transaction. Only `producers.cli` imports it; it imports `domain` and
never the client side.
"""
