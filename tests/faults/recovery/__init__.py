"""Measures how long it takes until everything answers again after a process or a server has died.

`python -m tests.faults.recovery --repetitions 10 --out docs/figures/recovery.json` measures, and
`python -m tests.faults.recovery --table docs/figures/recovery.json` prints the table.
"""
