"""The projector loop: poll, apply, checkpoint, dead-letter.

`start` wires it to Kafka, `runner` owns the loop, `applier` applies one batch to one version,
`subscription` tracks the assigned partitions. It knows read models only through `contract`;
`versions` and `cli` run it.
"""
