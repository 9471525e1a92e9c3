"""The metrics of a handler, recorded where they are served (see `runtime.metrics`).

`meter` records what the handler does and whether it is ready, and `commands_waiting` asks the
brokers how many commands wait for it. Only `producers.handler` imports this package.
"""
