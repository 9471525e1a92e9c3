"""What every rollbook process needs: settings, clients, topics, signals, logs, terminal output.

Nothing here depends on users, commands or read models. Imports only `schemas`.
"""
