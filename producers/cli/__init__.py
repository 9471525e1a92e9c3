"""The command line of the write side: `rollbook users create`, `handler run` and others.

One module per group of commands; `sending` is what all commands about users share. Nothing imports
this package but the root command (`scripts.cli`), which loads each command when it is called.
"""
