"""What benchmarks work on: users, a log of their events, a fresh registry, running processes.

Nothing here measures anything. Every other module of the benchmarks may import it.
"""
