"""Prometheus for a local stack, and where its programs come from."""
