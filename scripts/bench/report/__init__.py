"""How benchmarks report: figures with their spread, tables for docs/performance.md, a picture.

`measure` has the spreads and the machine, `page` writes the tables and the pictures from recorded
figures. Any benchmark may import this package, and `tests.faults` writes its reports with it. It
imports no other part of the benchmarks.
"""
