"""A broker in memory with which the handler's loop is stepped, for tests of its schedules."""
