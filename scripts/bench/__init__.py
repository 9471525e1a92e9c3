"""`rollbook bench`: rollbook beside its peers and upper bounds, in one run on one machine."""
