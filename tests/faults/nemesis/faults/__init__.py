"""The faults of a run: each begins when its `with` block is entered, and is healed at its end."""
