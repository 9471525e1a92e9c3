"""What clients saw, and whether a correct registry can have shown it.

The checks know nothing of the log and share no code with the product: they have their own rules of
a user and their own placement of addresses. Each module checks one promise.
"""
