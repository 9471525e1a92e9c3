"""Both services answer what their OpenAPI documents say, whatever they are asked."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.depth import depth
from tests.started.processes import Rollbook, RunningProcess
from tests.started.services import Service

SCHEMATHESIS: Final = str(Path(sys.executable).with_name("schemathesis"))
# Streams, and operations on whole read models, which have tests of their own.
_LEFT_OUT: Final = r"^/(commands$|events|jobs|verify|read-models/.+|dead-letters/(retry|discard))"
_CHECKS: Final = (
    "status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method"
)
# Queries do not wait for what their tokens stand for: those are made up. And OpenAPI 3.1 cannot say
# that searches answer QUERY.
_CONFIGURATION: Final = """
[parameters]
"query.timeout" = 0

[phases.coverage]
unexpected-methods = ["DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"]
"""
_OPTIONS: Final = (
    *("--phases", depth("fuzzing", "examples,coverage,fuzzing")),
    *("--max-examples", str(depth(1, 200))),
    *("--seed", "1", "--no-shrink", "--continue-on-failure", "--request-timeout", "60"),
)


def test_every_answer_is_documented_and_none_is_a_failure(
    rollbook: Rollbook,
    handler: RunningProcess,
    projectors: dict[str, RunningProcess],
    tmp_path: Path,
) -> None:
    """A few requests of each kind; thousands in `make test-deep`."""
    rollbook.run("users", "create", "--email", "a@example.com", "--name", "A", "--age", "1")
    (tmp_path / "schemathesis.toml").write_text(_CONFIGURATION, encoding="utf-8")
    for service in (Service(rollbook, "commands"), Service(rollbook, "queries", "--operations")):
        report = ask(f"{service.url}/openapi.json", tmp_path)
        service.http.close()
        tested = re.search(r"Tested: (\d+)", report)
        assert tested is not None, report
        assert int(tested[1]) > 7, report
        # 500 is documented too, as what must not happen; 503 and 504 may.
        assert not re.search(r"runtime\.http\.access: \S+ \S+ 500 ", service.process.text())


def ask(document: str, folder: Path) -> str:
    """Send what the document permits, and what it does not; fail if an answer is not as it says."""
    done = subprocess.run(
        [
            *(SCHEMATHESIS, "--no-color", "run", document, "--checks", _CHECKS),
            *("--exclude-path-regex", _LEFT_OUT, *_OPTIONS),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
