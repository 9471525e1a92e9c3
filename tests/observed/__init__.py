"""Reads what a test wants to know: topics, groups, read models, metrics and spans."""
