"""The console: pages for people. It is a client of the two services and has no other access."""
