"""The command line of the read side: queries, `projector`, `events`, `dead-letters`.

One module per group of commands. Only the root command (`scripts.cli`) imports this package, and it
loads each command when it is called.
"""
