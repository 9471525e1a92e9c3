"""Benchmarks of projecting and of queries: our projectors, and the stores' upper bounds.

`projectors` says what is measured in which order, and `projector_findings` how it is shown. Only
`scripts.bench` imports these.
"""
