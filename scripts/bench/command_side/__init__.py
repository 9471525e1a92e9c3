"""Benchmarks of deciding: the handler beside its upper bound, its state, and one waiting client.

`commands` says what is measured in which order. Only `scripts.bench` imports these.
"""
