"""What may be asked of a user, and what results from it.

Parsing, deciding, the overlay of a batch, the address change between partitions, and the state of
a partition. No I/O, no clock, no randomness that is not passed in. `handler` runs it; the client
side never imports it.
"""
