"""Simulated runs of a whole registry: one seed decides what clients ask and what breaks.

The code under test is the product's: the handler's loop with everything below it, the projector's
loop, and the wait for a token. Only Kafka, the stores and the time are in memory
(docs/decisions/0042). `python -m tests.simulation --runs 1000` runs many seeds; `--seed N --runs 1`
repeats one.
"""
