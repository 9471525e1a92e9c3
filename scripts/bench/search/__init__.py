"""Measures how good the search is: its users, the written queries and the generated ones."""
