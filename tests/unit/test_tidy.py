"""The house style as failing checks, so that review can look at what matters."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from docsgen.syntax import syntax_tree

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "runtime", "producers", "projectors", "scripts", "docsgen")
FILE_LINES = 300
FUNCTION_LINES = 50
FORBIDDEN_NAMES = re.compile(r"Manager|Helper|Base$|^Base(?![a-z])|[Uu]tils?$|[Hh]elpers?$")
# A lock file must say where its packages come from, and where Maven is missing it is fetched from
# Maven Central; nothing else may name a registry.
MAY_NAME_REGISTRIES = {
    "uv.lock",
    "scripts/bench/peers/quix_environment/uv.lock",
    "scripts/stack/download/maven.py",
}
MACHINE = re.compile(
    r"(?<![\w.$}~-])/(?:work|root)/"  # where this was developed
    r"|(?<![\w.$}~-])/home/(?!rollbook\b|user\b)\w+/"
    # Split, so that this file does not name them either.
    r"|pypi\.(?:org)|pythonhosted\.(?:org)|repo1?\.maven\.|maven\.(?:org)/|registry\.npm(?:js)"
)


def tracked() -> list[Path]:
    """Return the files that git knows and that still exist."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False
    ).stdout.decode()
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def shown(path: Path) -> str:
    """Return the path as a message shows it."""
    return str(path.relative_to(ROOT))


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Module(NamedTuple):
    """A module; `definitions` is what the function of that name yields for its tree."""

    text: str
    tree: ast.Module
    definitions: list[tuple[Definition, bool]]


Modules = dict[Path, Module]


def definitions(tree: ast.Module) -> Iterator[tuple[Definition, bool]]:
    """Yield every function and class, and whether others may use it."""

    def walk(node: ast.AST, *, public: bool) -> Iterator[tuple[Definition, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Definition):
                is_public = public and not child.name.startswith("_")
                yield child, is_public
                inner = is_public and isinstance(child, ast.ClassDef)
                yield from walk(child, public=inner)
            elif not isinstance(child, ast.expr):  # an expression defines nothing
                yield from walk(child, public=public)

    yield from walk(tree, public=True)


@pytest.fixture(scope="module")
def modules() -> Modules:
    """Every module's text and syntax tree: each is read once for all the checks."""
    paths = [path for name in (*PACKAGES, "tests") for path in (ROOT / name).rglob("*.py")]
    found = {}
    for path in sorted(paths):
        text = path.read_text("utf-8")
        tree = syntax_tree(text)
        found[path] = Module(text, tree, list(definitions(tree)))
    return found


def test_modules_and_public_definitions_have_docstrings(modules: Modules) -> None:
    """Only in product code: a test's name may say everything."""
    missing = []
    for path, (_text, tree, defined) in modules.items():
        if any(path.is_relative_to(ROOT / tests) for tests in ("tests", "projectors/promises")):
            continue
        if tree.body and not ast.get_docstring(tree):
            missing.append(shown(path))
        missing += [
            f"{shown(path)}:{node.lineno} {node.name}"
            for node, public in defined
            if public and not ast.get_docstring(node)
        ]
    assert missing == []


def test_files_and_functions_are_short(modules: Modules) -> None:
    long = []
    for path, (text, _tree, defined) in modules.items():
        if len(text.splitlines()) > FILE_LINES:
            long.append(f"{shown(path)} has {len(text.splitlines())} lines")
        for node, _public in defined:
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES and not isinstance(node, ast.ClassDef):
                long.append(f"{shown(path)}: {node.name} has {lines} lines")
    assert long == []


def test_names_are_the_fields_terms(modules: Modules) -> None:
    """Nothing is called a manager, a helper, a base or utils: such names carry no information."""
    forbidden = []
    for path, (_text, _tree, defined) in modules.items():
        names = [path.stem, path.parent.name, *(node.name for node, _ in defined)]
        forbidden += [f"{shown(path)}: {name}" for name in names if FORBIDDEN_NAMES.search(name)]
    assert forbidden == []


def test_the_checks_can_fail() -> None:
    """Each pattern finds what it forbids and permits what only resembles it."""
    for name in ("UserManager", "BaseStore", "StoreBase", "utils", "test_helpers", "HelperBox"):
        assert FORBIDDEN_NAMES.search(name), name
    for name in ("Baseline", "database", "rebase", "Projector"):
        assert not FORBIDDEN_NAMES.search(name), name
    slash = "/"
    for bad in (f"cd {slash}work/main", f'"{slash}root/.m2"', "https://pypi." + "org/simple"):
        assert MACHINE.search(bad), bad
    for good in ("framework/", "./work/x", "$HOME/work/x", f"{slash}home/rollbook/data"):
        assert not MACHINE.search(good), good
    tree = syntax_tree(
        "class A:\n  def b(self): ...\n  def _c(self): ...\ndef d():\n  def e(): ..."
    )
    assert {node.name for node, public in definitions(tree) if public} == {"A", "b", "d"}


def test_no_file_names_a_machine_or_a_registry() -> None:
    """Committed files work on any machine with any package registry."""
    found = []
    for path in tracked():
        if shown(path) in MAY_NAME_REGISTRIES:
            continue
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{shown(path)}:{number}"
            for number, line in enumerate(text.splitlines(), 1)
            if MACHINE.search(line)
        ]
    assert found == []
