"""Operations: the `rollbook` command, the local stack, the demo, verification and benchmarks.

`cli` is the root command; it imports the code of a command only when that command is called. This
is the highest layer of the product: it may import all others, and only `docsgen` and the tests may
import it.
"""
