"""The rules of the write side: what a command may do, and which events result from it.

Parsing, deciding, the overlay of a batch, the address change between partitions, and the state of a
partition. No I/O; the time and random bits are passed in. `handler` runs it; the client side never
imports it.
"""
