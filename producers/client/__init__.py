"""One command and its answer: the public API for programs that send commands.

`command_client.CommandClient` sends and waits, `build` makes the records, `outcomes` reads the
answers. Everything that sends commands may import it; it never imports `domain` or `handler`.
"""
