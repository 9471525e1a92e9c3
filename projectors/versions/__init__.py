"""The life of a read model's versions: build, compare, swap, report.

`host` runs every version that is ready, `rebuild` builds a new one beside the live one, `compare`
checks it against the log, `swap` makes it live, `visibility` waits for a token. It uses `catalog`
and `engine`; the command lines use it.
"""
