"""Keeps a constant load on a registry while faults happen, and shows that no process grows.

`make soak MINUTES=60` samples every process and server, writes a picture of each series, and ends
with 1 if a series is not flat (`series.py` says what that means), or if anything was wrong that
the checks of the nemesis find.
"""
