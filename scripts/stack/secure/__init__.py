"""The secure stack: TLS, logins and permissions on all four servers.

Each server enforces the table of `runtime.roles` itself, with what it has for that: access control
entries in Kafka, roles in PostgreSQL, the file realm in Elasticsearch, rules for methods and paths
in the schema registry.
"""
