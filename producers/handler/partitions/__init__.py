"""The partitions of one handler: which it has, where it continues, how each is restored.

`ownership` follows the group's assignments and polls; `partition` is the life cycle of one;
`restore` rebuilds its state from the log, from `positions` on. Only `producers.handler` imports
this package, which knows nothing of deciding or of transactions, and measures with `meter`.
"""
