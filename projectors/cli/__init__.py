"""The command line of the read side: queries, `projector`, `events`, `dead-letters`.

One module per group of commands. Nothing imports this package but the root command
(`scripts.cli`), which loads each command when it is called.
"""
