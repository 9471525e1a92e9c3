"""Avro records to bytes and back: fast enough for the loops that read and write the log.

`codec` is for whole records, `projection` for some fields of them; `compiled` and
`compiled_decoder` generate the code. Both sides use these.
"""
