"""What the command line of a query needs, for our own commands and custom ones.

`after_option` adds `--after` and `--timeout` to a query, so that it can wait for a token. Public:
a custom read model imports this package and `projectors.contract`, and nothing else of
`projectors`.
"""
