"""Addresses to listen on, certificates that expire, and why a connection with TLS fails.

Clients and services use these; `runtime.kafka` and `runtime.http` build on them.
"""
