"""The contract between the two sides: what is on the log and what it means.

Avro schemas and their codec, topics, identity (e-mail → shard → partition, user ids), field rules
and the errors tree. Nothing here talks to a server; everything else may import it.
"""
