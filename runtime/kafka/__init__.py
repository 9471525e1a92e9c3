"""Kafka and its schema registry: options of clients, the clients themselves, and denied access.

`clients` makes clients from the settings and tells their failures apart; `client_classes` are the
classes they are made of; `access` finds out why a login is refused; `registry` looks schemas up.
Every process uses these.
"""
