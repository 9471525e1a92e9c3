"""People, events and other data that tests make."""
