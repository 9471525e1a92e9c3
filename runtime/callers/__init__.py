"""Who may call the services over HTTP: keys in a file, tokens of an issuer, and their scopes.

Nothing here needs the extra `services`, except checking a token of an issuer.
"""
