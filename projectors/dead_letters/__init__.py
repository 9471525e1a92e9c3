"""Reading and settling dead letters.

`reader` folds the topic, `place` reads the record that a letter points to, `retry` applies or
discards it. Used by `versions` and `cli`; writing letters while projecting is
`engine.dead_letter_writer`.
"""
