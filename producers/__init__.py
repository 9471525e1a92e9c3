"""The command side: what may be asked, who decides it, and how the answer comes back.

The aggregate, the partition's state and its restore, the exactly-once handler, the client and the
importer. It never imports `projectors`: the two meet only in the log.
"""
