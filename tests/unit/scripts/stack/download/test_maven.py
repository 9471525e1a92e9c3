"""What Maven fetches: only files with the checksum that is published, or pinned here."""

import hashlib
from contextlib import nullcontext
from pathlib import Path

import pytest

from schemas.errors import Misconfigured
from scripts.stack.download.maven import Pinned, check_pinned, find_maven


def test_a_maven_with_another_checksum_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror cannot make us run another program."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("MVNW_REPOURL", tmp_path.as_uri())
    with pytest.raises(Misconfigured, match="cannot fetch") as missing:
        find_maven()
    archive = Path(str(missing.value).split()[2].removeprefix("file://").rstrip(":"))
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"something else")
    with pytest.raises(Misconfigured, match="checksum differs"):
        find_maven()
    assert not list((tmp_path / "cache").rglob("mvn"))


def test_a_file_with_another_checksum_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    """Also where the mirror has no checksum for it, which Maven would accept with a warning."""
    content = b"a server"
    for pinned in (content, b"another server"):
        folder = tmp_path / "pinned"
        folder.mkdir()
        (folder / "server.zip").write_bytes(content)
        file = Pinned("group:server:1:zip", hashlib.sha512(pinned).hexdigest())
        with nullcontext() if pinned == content else pytest.raises(Misconfigured) as refused:
            check_pinned(file, folder)
        assert not folder.exists()
    assert refused is not None
    assert refused.value.code == "wrong_checksum"
    assert "group:server:1:zip" in str(refused.value)
