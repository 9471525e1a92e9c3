"""Domains that get no mail: their last labels, and what each is reserved for.

Apart from `schemas.fields.rules`, because every command checks the settings and should start
quickly.
"""

RESERVED_FOR = {
    "arpa": "which is reserved for the infrastructure of the Internet (RFC 3172)",
    "invalid": "which never exists (RFC 6761)",
    "local": "which is reserved for the local network (RFC 6762)",
    "localhost": "which is the machine itself (RFC 6761)",
    "onion": "which is reserved for Tor (RFC 7686)",
    "test": "which is reserved for tests (RFC 6761)",
}
