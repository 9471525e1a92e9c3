"""`rollbook bench services`: both services over HTTP, beside a no-op request and a peer.

`measure` says what is measured in which order, `system` starts what is measured, and `load` and
`bulk` send the requests. Only `scripts.bench.cli` and `scripts.bench.access`, which measures one
part alone, import this package.
"""
