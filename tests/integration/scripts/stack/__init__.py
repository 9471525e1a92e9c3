"""Stacks are started, stopped and looked at."""
