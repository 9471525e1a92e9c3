"""Servers between clients and brokers that refuse, and brokers with logins."""
