"""`rollbook bench`: ours and the bare limits, side by side in one run on one machine."""
