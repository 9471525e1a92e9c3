"""What compose makes of two files: its rules for what is used here.

A run of compose's own library on the same files gave the same services.
"""

from pathlib import Path
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Reads `!override` and `!reset` as marks on what follows them."""


def _mark(loader: _Loader, tag: str, node: yaml.Node) -> tuple[str, Any]:
    content = loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else None
    return tag, content


_Loader.add_multi_constructor("!", _mark)


def merged_files(first: Path, second: Path) -> dict[str, Any]:
    """Return the content of both files together."""
    both = [
        yaml.load(path.read_text("utf-8"), _Loader)  # noqa: S506 - a safe loader
        for path in (first, second)
    ]
    content: dict[str, Any] = _merged(*both)
    return content


def _merged(first: Any, second: Any, key: str = "") -> Any:
    if isinstance(second, tuple):
        return second[1]
    if isinstance(first, dict) and isinstance(second, dict):
        both = first | {
            name: _merged(first.get(name), value, name) for name, value in second.items()
        }
        return {name: value for name, value in both.items() if value is not None}
    if key == "secrets" and isinstance(first, list):
        return [*first, *second]
    return second
