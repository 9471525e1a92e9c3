"""The systems that rollbook is measured beside, and the topics they read.

Nothing outside the benchmarks imports this package. The two `*_application` modules need the
dependency group `benchmark` and run in separate processes.
"""
