"""What a valid name, age and address is: `rules` decides, the others are its tables.

Clients check early and the handler decides, with the same functions.
"""
