"""How benchmarks report: figures with their spread, tables for docs/performance.md, a picture."""
