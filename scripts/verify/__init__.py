"""`rollbook verify`: reads every topic and both stores, and reports which promises hold.

The modules of `checks` and `replay` are pure: records in,
findings out. `reader` and `stores` fetch, `run` puts both together, `cli` prints. The rules are
implemented here a second time on purpose: a checker should not share code with what it checks.
`replay` is the exception, because it shows that `evolve` and the log agree.
"""
