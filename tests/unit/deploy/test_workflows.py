"""The workflows, checked without GitHub: what they run, and what they may do."""

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCHEMA = resources.files("check_jsonschema") / "builtin_schemas/vendor/github-workflows.json"
BASE = re.compile(r"^FROM (\S+) AS base$", re.MULTILINE)


@pytest.fixture(scope="module")
def workflows() -> dict[str, dict[str, Any]]:
    found = {}
    for path in FILES:
        content = yaml.safe_load(path.read_text("utf-8"))
        # YAML 1.1 reads the key `on` as true; GitHub does not.
        found[path.stem] = {("on" if key is True else key): one for key, one in content.items()}
    return found


def test_the_files_follow_the_published_schema(workflows: dict[str, Any]) -> None:
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text("utf-8")))
    for workflow in workflows.values():
        validator.validate(workflow)
    wrong = workflows["test"] | {"permissions": {"contents": "own"}}
    assert not validator.is_valid(wrong)


def test_every_action_is_pinned_to_a_commit() -> None:
    """A tag can be moved to other code; the comment with the release is what Dependabot reads."""
    for path in FILES:
        for line in path.read_text("utf-8").splitlines():
            if "uses:" in line:
                assert re.search(r"uses: actions/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+$", line), (
                    line
                )


def test_only_the_job_that_publishes_may_write(workflows: dict[str, Any]) -> None:
    """And it runs for tags only."""
    privileged = []
    for name, workflow in workflows.items():
        assert workflow["permissions"] == {"contents": "read"}
        jobs = workflow["jobs"].items()
        privileged += [(name, job, one["if"]) for job, one in jobs if "permissions" in one]
    assert privileged == [("release", "publish", "startsWith(github.ref, 'refs/tags/v')")]


def test_no_step_keeps_a_token_or_runs_what_others_wrote(workflows: dict[str, Any]) -> None:
    """An expression inside a script would run as code; there are no secrets but the run's token."""
    for workflow in workflows.values():
        assert "pull_request_target" not in workflow["on"]
        assert "secrets." not in json.dumps(workflow)
        for step in (step for job in workflow["jobs"].values() for step in job["steps"]):
            assert "${{" not in step.get("run", "")
            if "actions/checkout@" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


def test_the_digest_of_the_base_image_is_looked_up_and_not_written() -> None:
    """The Dockerfile has a tag, by the line that the workflow reads; nothing has a digest."""
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    assert len(BASE.findall(dockerfile)) == 1
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {
        BASE.findall(dockerfile)[0],
        "base",
    }
    release = (ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8")
    assert r"s/^FROM \(.*\) AS base$/\1/p' Dockerfile" in release
    assert release.count('--build-context "base=$BASE"') == 2
    for path in (
        ROOT / "Dockerfile",
        ROOT / "docker-compose.yml",
        *(ROOT / "deploy").rglob("*.y*"),
    ):
        assert not re.search(r"sha256:[0-9a-f]", path.read_text("utf-8")), path


def test_the_image_does_not_run_as_root() -> None:
    """By number: `runAsNonRoot` of Kubernetes refuses a name."""
    users = re.findall(r"^USER (.+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert users == ["1000:1000"]


def test_dependabot_looks_where_dependencies_are_declared() -> None:
    """It reports nothing of a directory that has no such file, for ever."""
    declares = {"uv": "uv.lock", "maven": "pom.xml", "docker": "Dockerfile"}
    declares |= {"docker-compose": "docker-compose.yml", "github-actions": ".github/workflows"}
    watched = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text("utf-8"))["updates"]
    for one in watched:
        for directory in one.get("directories", [one.get("directory")]):
            assert (ROOT / directory.lstrip("/") / declares[one["package-ecosystem"]]).exists(), one
    poms = {f"/{path.parent.relative_to(ROOT)}" for path in ROOT.glob("scripts/**/pom.xml")}
    assert {place for one in watched for place in one.get("directories", [])} == poms
