"""A custom read model needs only the public packages; the example proves it."""

import ast
from importlib import import_module
from pathlib import Path

from docsgen.syntax import syntax_tree

EXAMPLES = Path(__file__).parents[4] / "tests" / "examples"
PUBLIC = {"projectors.command_line", "projectors.contract", "projectors.promises"}
OURS = {"producers", "projectors", "runtime", "schemas", "scripts"}


def private_imports(source: str) -> list[str]:
    """Return what `source` imports of ours that is not a public name of a public package."""
    found = []
    for node in ast.walk(syntax_tree(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in OURS]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in OURS:
            module = node.module or ""
            public = import_module(module).__all__ if module in PUBLIC else []
            found += [f"{module}.{alias.name}" for alias in node.names if alias.name not in public]
    return found


def test_the_example_imports_only_public_names() -> None:
    files = sorted(EXAMPLES.glob("*.py"))
    assert len(files) >= 3
    for file in files:
        assert private_imports(file.read_text(encoding="utf-8")) == [], file.name


def test_a_private_import_is_detected() -> None:
    """A check that cannot fail proves nothing."""
    assert private_imports("from projectors.contract import Batch\nimport click") == []
    for private in (
        "import runtime.settings",
        "from schemas.errors import Poisoned",
        "from projectors.contract.read_model import Batch",
        "from projectors.contract import Callable",
        "def f():\n    from scripts.cli import run",
    ):
        assert private_imports(private), private


def test_every_public_name_exists() -> None:
    for package in sorted(PUBLIC):
        module = import_module(package)
        for name in module.__all__:
            assert hasattr(module, name), f"{package}.{name}"
