"""Renders a folder of Kustomize with the program that users have: kubectl, or kustomize itself."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[3] / "deploy" / "kubernetes"
NEWEST_OF_OLD = 4  # Kustomize 5 is part of kubectl since 1.27
MISSING = "neither kubectl 1.27 nor kustomize 5, or later, is on PATH: nothing was rendered"


@cache
def program() -> tuple[str, ...] | None:
    """Return the command that renders a folder, or None if no program is new enough."""
    for name, version in (
        ("kustomize", ["version"]),
        ("kubectl", ["version", "--client"]),
    ):
        if shutil.which(name):
            asked = [name, *version]
            told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
            found = re.search(r"(?:Kustomize Version: |^)v(\d+)\.", told, re.MULTILINE)
            if found and int(found[1]) > NEWEST_OF_OLD:
                return name, "build" if name == "kustomize" else "kustomize"
    return None


def rendered(command: tuple[str, ...], folder: str) -> list[dict[str, Any]]:
    """Return the objects that a folder below `deploy/kubernetes` makes."""
    done = subprocess.run([*command, FOLDER / folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr, done.stderr
    return [one for one in yaml.load_all(done.stdout, yaml.CSafeLoader) if one]
