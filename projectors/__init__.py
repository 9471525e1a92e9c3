"""The read side: read models built from the log, and the queries they answer.

From bottom to top: `contract`, `log`, `engine` and `promises`, the read models (`postgres`, then
`history` and `elasticsearch`), `catalog`, `dead_letters`, `versions`, `command_line`, `cli` and
`service`. No import points upward, and nothing here imports `producers`; import-linter enforces
both (see pyproject.toml).
A custom read model imports `contract`, `promises`, `command_line` and, if it is kept in PostgreSQL,
`postgres.store`.
"""
