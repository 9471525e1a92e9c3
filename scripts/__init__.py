"""Operations: the `rollbook` command, the local stack, the demo, verification and benchmarks."""
