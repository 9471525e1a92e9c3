"""Avro records to bytes and back: fast enough for the loops that read and write the log.

`codec` is what others use, `projection` reads only some fields of a record; `compiled` and
`compiled_decoder` generate the code for both.
"""
