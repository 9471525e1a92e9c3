"""The command line of the write side: `rollbook users create`, `handler run` and others.

One module per group of commands; `sending` has what the commands about users share. Only the root
command (`scripts.cli`) imports this package, and it loads each command when it is called.
"""
