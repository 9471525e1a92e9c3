"""What every read model implements, and all that a custom one needs to import.

`read_model` has the Protocols and the errors, `source` says which topic a model reads, `promises`
has the tests that every model must pass. Public: its names are kept stable. It imports nothing
else of `projectors`.
"""
