"""Finds every error code in the source, to prove that the table of error codes is complete.

An error gets its code in one of four ways: from `code=` where it is made, from its class's
`default_code`, from `code=` in its class's constructor, or, for a line of an import file, from the
second argument of `BadLine`. A code taken over from another error (`code=error.code`) is found
where that error is made.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from docsgen.syntax import syntax_tree
from schemas import errors

T = TypeVar("T")
PACKAGES: Final = ("schemas", "runtime", "producers", "projectors", "scripts")
_ERRORS: Final = "schemas/errors.py"
# Tools for developers of rollbook, whose errors no user sees.
_LEFT_OUT: Final = ("scripts/bench",)
_BAD_LINE: Final = "BadLine"


class Raised(NamedTuple):
    """A code in the source; `error` is the class of `schemas.errors` that it is raised as."""

    code: str
    error: str
    place: str


class _ErrorClass(NamedTuple):
    base: str
    default_code: str | None


# The error classes by the file and the name of their definition.
_Classes = dict[tuple[str, str], _ErrorClass]


def sources(root: Path) -> dict[str, str]:
    """Return the text of each module that may raise errors, by its path below `root`."""
    paths = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    named = {path.relative_to(root).as_posix(): path for path in paths}
    return {
        name: path.read_text("utf-8")
        for name, path in named.items()
        if not name.startswith(_LEFT_OUT)
    }


def raised(texts: Mapping[str, str]) -> list[Raised]:
    """Return every error that is made in the modules `texts`, which are named by their paths."""
    trees = {name: syntax_tree(text) for name, text in texts.items()}
    imports = {file: _imports(tree) for file, tree in trees.items()}
    classes = _error_classes(trees, imports)
    constants = {
        (file, name): text for file, tree in trees.items() for name, text in _constants(tree.body)
    }
    found: list[Raised] = []
    for file, tree in trees.items():
        known = _visible(file, imports[file], classes)
        named = _visible(file, imports[file], constants)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                found += _made_by(node, f"{file}:{node.lineno}", known, named)
            elif isinstance(node, ast.ClassDef) and node.name in known:
                found += _passed_up(node, f"{file}:{node.lineno}", known[node.name], named)
    return found


def _made_by(
    call: ast.Call, place: str, known: Mapping[str, _ErrorClass], constants: Mapping[str, str]
) -> Iterator[Raised]:
    name = _name(call.func) or ""
    if name == _BAD_LINE and isinstance(call.args[1], ast.Constant):
        yield Raised(str(call.args[1].value), "Rejected", place)
    elif name in known:
        given = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
        code = _text(given[0], constants) if given else known[name].default_code
        if code is not None:
            yield Raised(code, known[name].base, place)


def _passed_up(
    node: ast.ClassDef, place: str, error: _ErrorClass, constants: Mapping[str, str]
) -> Iterator[Raised]:
    """Yield the code that the constructor of an error class gives to its base class."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__":
            codes = [_text(item.value, constants) for item in call.keywords if item.arg == "code"]
            yield from (Raised(code, error.base, place) for code in codes if code is not None)


def _error_classes(
    trees: Mapping[str, ast.Module], imports: Mapping[str, list[ast.ImportFrom]]
) -> _Classes:
    found: _Classes = {
        (_ERRORS, name): _ErrorClass(name, kind.default_code)
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.RollbookError)
    }
    for _ in range(3):  # the classes that derive from those found so far
        for file, tree in trees.items():
            if file != _ERRORS:
                known = _visible(file, imports[file], found)
                for node in tree.body:
                    if isinstance(node, ast.ClassDef) and node.bases:
                        base = known.get(_name(node.bases[0]) or "")
                        if base is not None:
                            found[file, node.name] = _derived(node, base)
    return found


def _derived(node: ast.ClassDef, base: _ErrorClass) -> _ErrorClass:
    own = dict(_constants(node.body)).get("default_code")
    has_constructor = any(
        isinstance(child, ast.FunctionDef) and child.name == "__init__" for child in node.body
    )
    return _ErrorClass(base.base, own or (None if has_constructor else base.default_code))


def _imports(tree: ast.Module) -> list[ast.ImportFrom]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]


def _visible(
    file: str, imports: list[ast.ImportFrom], defined: Mapping[tuple[str, str], T]
) -> dict[str, T]:
    """Return what the module `file` defines itself or imports, by name."""
    found = {name: thing for (where, name), thing in defined.items() if where == file}
    for node in imports:
        module = (node.module or "").replace(".", "/")
        wanted = {alias.name for alias in node.names}
        for (where, name), thing in defined.items():
            # A package may pass on what its modules define.
            if name in wanted and (where == f"{module}.py" or where.startswith(f"{module}/")):
                found[name] = thing
    return found


def _constants(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield from ((t.id, value.value) for t in targets if isinstance(t, ast.Name))


def _text(node: ast.expr, constants: Mapping[str, str]) -> str | None:
    """Return the text of a code; None where it is taken over from another error."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    return constants.get(node.id) if isinstance(node, ast.Name) else None


def _name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else None
