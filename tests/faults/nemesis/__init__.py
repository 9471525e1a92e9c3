"""Breaks real servers and processes under load, as one seed says, and checks what clients saw.

`make nemesis SEEDS=20` runs many seeds, `make nemesis SEED=n` one. The seed decides which faults
happen, when and for how long, and what each client asks for. Servers and processes have timing of
their own, so a seed that fails once may pass the next time; therefore every run keeps its history.
"""
