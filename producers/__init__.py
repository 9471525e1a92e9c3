"""The write side: commands in, events out.

`client` and `importer` send commands, `domain` decides them, `handler` runs the exactly-once loop
around `domain`, and `cli` is the command line. Nothing here imports `projectors`: the two sides
meet only in the log. import-linter enforces the layers (see pyproject.toml).
"""
