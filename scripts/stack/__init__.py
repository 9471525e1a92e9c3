"""The local stack: real Kafka, schema registry, PostgreSQL and Elasticsearch, native or Docker."""
