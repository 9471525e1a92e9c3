"""Turns files of people into `CreateUser` commands.

`source` reads lines from files, pipes and gzip; `lines` parses CSV and NDJSON; `check` is the dry
run; `run` sends the commands and counts their outcomes; `rejects` lists the rejected lines. It
imports `client`; only `producers.cli` imports it.
"""
