"""Files of people in, `CreateUser` commands out.

`source` opens files, pipes and gzip, `lines` reads CSV and NDJSON, `check` is the dry run, `run`
sends and follows the outcomes, `rejects` keeps what was refused. It imports `client`; only
`producers.cli` imports it.
"""
