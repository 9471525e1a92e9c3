"""Metrics of a long-running process for Prometheus, and whether the process is ready.

`table` names every metric. Any code may import `recording` and `health`: it records in
`recording.VALUES` and reports in `health.HEALTH`, which belong to the process. `serving` serves
both at `metrics_listen`, if that is set. Recording needs no package; `exposition`, which does, is
imported only where metrics are served.
"""
