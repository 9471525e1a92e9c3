"""Three brokers are killed, frozen, restarted and cut off under load (`make test-deep`).

`python -m tests.faults.brokers` repeats each fault and prints how long commands stalled.
"""
