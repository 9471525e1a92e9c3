"""Who may call the services over HTTP: keys in a file, tokens of an issuer, and their scopes.

`authority` decides who a request comes from; `runtime.http` and the console's sign-in use it. The
local stack and the benchmarks make keys with `key_file`, and the root command loads `cli`. The
services get their callers from `runtime.http` and do not import this package. Only checking a
token of an issuer needs the extra `services`.
"""
