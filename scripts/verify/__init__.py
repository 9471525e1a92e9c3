"""`rollbook verify`: reads every topic and both stores and says whether what must hold does hold.

`log_checks`, `decision_checks`, `store_checks` and `history_checks` are pure: records in, findings
out. `reader`, `stores` and `history_store` fetch, `cli` prints. The rules are written down here a
second time, on purpose: what checks the handler and the projectors shares none of their code.
"""
