"""The Avro schemas of all records, one file each; `schemas.topics` says which topic has which.

A released file never changes: a new field is a new file. `schemas.coding.codec` reads the files,
and nothing else should.
"""
