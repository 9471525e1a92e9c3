"""The promises that `verify` checks, as pure functions: records in, findings out.

`log`, `decisions`, `claims` and `stores` check what rollbook wrote, and `foreign` finds what it did
not. `scripts.verify.run` calls them with what was read.
"""
