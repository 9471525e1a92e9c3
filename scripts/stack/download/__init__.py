"""Gets what the native servers need: a Java to run on, Maven, and the servers' own files.

Everything is kept in a cache and has a checksum. `scripts.stack` uses it, the demo, and the
benchmarks' peers, which come the same way.
"""
