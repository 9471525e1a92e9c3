"""`rollbook bench services`: both services over HTTP, beside a no-op request and a peer."""
