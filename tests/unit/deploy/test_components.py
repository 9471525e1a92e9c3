"""The list of components (SBOM) that `make sbom` writes for a release."""

import json
import shutil
import subprocess
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, ValidationError
from packaging.requirements import Requirement
from referencing import Registry, Resource

ROOT = Path(__file__).parents[3]
_SCHEMAS = resources.files("cyclonedx.schema") / "_res"


@pytest.fixture(scope="module")
def validator() -> Draft7Validator:
    """The schema of CycloneDX, and the two that it refers to."""
    schema, *others = (
        json.loads(_SCHEMAS.joinpath(f"{name}.SNAPSHOT.schema.json").read_text("utf-8"))
        for name in ("bom-1.5", "spdx", "jsf-0.82")
    )
    registry: Registry[Any] = Resource.from_contents(schema) @ Registry()
    for other in others:
        registry = Resource.from_contents(other) @ registry
    return Draft7Validator(schema, registry=registry)


@pytest.fixture(scope="module")
def components(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command of the Makefile writes."""
    written = tmp_path_factory.mktemp("components") / "rollbook.cdx.json"
    uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    [command] = [one for one in makefile.replace("\\\n", " ").splitlines() if "cyclonedx" in one]
    arguments = command.replace("build/rollbook.cdx.json", str(written)).split()[1:]
    subprocess.run([uv, "--offline", *arguments], cwd=ROOT, check=True)
    content: dict[str, Any] = json.loads(written.read_bytes())
    return content


def test_the_list_follows_the_schema_of_cyclonedx(
    validator: Draft7Validator, components: dict[str, Any]
) -> None:
    validator.validate(components)
    with pytest.raises(ValidationError):
        validator.validate(components | {"components": [{"name": "click"}]})


def test_the_list_has_every_package_that_can_be_installed_and_none_of_ours(
    components: dict[str, Any],
) -> None:
    """By version, address and hashes; what only developers install is not part of a release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = (project["dependencies"], *project["optional-dependencies"].values())
    names = {Requirement(one).name for group in groups for one in group} - {"rollbook"}
    found = {one["name"]: one for one in components["components"]}
    assert names <= set(found)
    assert not {"mypy", "ruff", "sphinx", "eventsourcing"} & set(found)
    for name, one in found.items():
        assert one["purl"] == f"pkg:pypi/{name}@{one['version']}"
        files = [file for file in one["externalReferences"] if file["type"] == "distribution"]
        assert files
        assert all(file["hashes"][0]["alg"] == "SHA-256" for file in files), name
    assert components["metadata"]["component"]["version"] == project["version"]
