"""What a handler shows of itself, where metrics are served (see `runtime.metrics`)."""
