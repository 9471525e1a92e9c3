"""What the searches for secrets would find: a search that finds nothing must be able to."""

import base64
import json
import subprocess
import sys
from urllib.parse import quote

import pytest

from tests.samples.sentinels import found_in, found_in_process

SECRET = "q/Pä ss+wörd?q"


@pytest.mark.parametrize(
    "leak",
    [
        f"the password {SECRET} is wrong",
        SECRET.upper(),
        f"postgresql://u:{quote(SECRET, safe='')}@h/db",
        json.dumps({"password": SECRET}),
        *(
            f"Authorization: Basic {base64.b64encode(f'{user}:{SECRET}'.encode()).decode()}"
            for user in ("u", "us", "use")
        ),
        base64.urlsafe_b64encode(f"{{{SECRET}}}".encode()).decode(),
    ],
)
def test_a_planted_secret_is_found(leak: str) -> None:
    assert found_in(leak, ["other", SECRET]) == [SECRET]


def test_what_is_no_leak_is_not_found() -> None:
    basic = base64.b64encode(b"user:another password").decode()
    assert not found_in(f"the password of user u is wrong; {basic}", [SECRET])


def test_a_secret_in_the_command_line_or_environment_of_a_process_is_found() -> None:
    wait = "import sys; print(flush=True); sys.stdin.read()"
    for arguments, environment, found in (
        ([SECRET], {}, [SECRET]),
        ([], {"PASSWORD": SECRET}, [SECRET]),
        ([], {}, []),
    ):
        with subprocess.Popen(
            [sys.executable, "-c", wait, *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            # Its command line can be read only some time after it was started.
            assert process.stdout is not None
            process.stdout.readline()
            assert found_in_process(process.pid, [SECRET]) == found
            process.communicate()
    assert not found_in_process(process.pid, [SECRET])
