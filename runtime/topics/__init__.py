"""What brokers are asked about topics: creates and checks them, and reads ranges of their logs.

`admin` creates what is missing, `drift` refuses what would lose records, `log_ranges` reads a
topic to the end that it has now. All packages above may use it; it imports `runtime.kafka.clients`.
"""
