"""The local stack: real Kafka, schema registry, PostgreSQL and Elasticsearch, native or Docker.

`cli` has the commands, and `system` starts and stops the servers and our services on them. `places`
says where a stack keeps its files, `record` how it was started. The root command, the demo, the
benchmarks and the tests import this package; the console may not.
"""
