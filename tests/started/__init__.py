"""Processes that tests start, and what they run with: addresses, logins, certificates."""
