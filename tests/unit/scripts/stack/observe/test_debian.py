"""Where Prometheus comes from, and what is said if it comes from nowhere."""

from pathlib import Path

import pytest

from schemas.errors import Misconfigured
from scripts.stack.observe.debian import find_program


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all of PATH; the cache is empty, too."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return path


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def test_a_program_on_the_path_is_used(path: Path) -> None:
    script(path / "promtool", "exit 0")
    assert find_program("promtool") == path / "promtool"


def test_without_apt_the_error_says_what_to_install(path: Path) -> None:
    with pytest.raises(Misconfigured, match="there is no promtool on PATH") as missing:
        find_program("promtool")
    assert missing.value.code == "no_prometheus"
    assert "apt-get install prometheus`" in missing.value.next_step


def test_the_reason_of_apt_is_passed_on_and_nothing_half_done_is_kept(path: Path) -> None:
    """Without lists, apt does not know the package; afterwards the same call can succeed."""
    script(path / "apt-get", "echo 'E: Unable to locate package prometheus' >&2; exit 100")
    with pytest.raises(Misconfigured, match="Unable to locate package prometheus"):
        find_program("prometheus")
    script(path / "apt-get", "echo > prometheus_2_amd64.deb")
    script(path / "dpkg-deb", "/bin/mkdir -p usr/bin && echo > usr/bin/prometheus")
    found = find_program("prometheus")
    assert found.is_file()
    assert not list(found.parents[2].glob("*.deb"))
    script(path / "apt-get", "exit 100")
    assert find_program("prometheus") == found
