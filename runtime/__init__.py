"""How a rollbook process lives: settings, clients, topics, signals, logs, terminal output.

Knows servers but no users: nothing here decides or projects. Imports only `schemas`.
"""
