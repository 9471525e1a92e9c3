"""Starts processes and builds a wheel, without servers: it takes too long for `make check`."""
