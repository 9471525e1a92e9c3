"""What a long-running process shows of itself: metrics for Prometheus, and whether it is ready.

`table` names every metric. Any code records in `recording.VALUES` and reports in `health.HEALTH`,
which belong to the process; `serving` serves both at `metrics_listen`, if that is set. Recording
needs no package; `exposition`, which does, is imported only where metrics are served.
"""
