"""`rollbook doctor`: finds problems of an installation before they hurt. Changes nothing.

`checks` lists every check, in groups by the server that they ask; `run` runs the groups at the same
time. A check turns facts into findings. The facts of a group are read once, when a check needs
them.
"""
