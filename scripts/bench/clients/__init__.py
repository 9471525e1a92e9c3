"""Clients that wait for each answer: rollbook's, and those of the library `eventsourcing`."""
