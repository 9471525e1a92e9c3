"""Parses Python source, whichever patch release of Python runs."""

import ast
import gc


def syntax_tree(text: str) -> ast.Module:
    """Return the syntax tree of a module.

    In Python 3.11 before 3.11.8, `ast.parse` fails if the garbage collector runs while it makes the
    tree and another thread parses meanwhile (cpython#106905).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(text)
    finally:
        if was_enabled:
            gc.enable()
