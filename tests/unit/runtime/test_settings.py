"""Settings: flag > environment > file > default; errors name the setting."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.configuration.files import find_config_file, stack_directory
from runtime.settings import Settings, load_settings
from schemas.errors import Misconfigured

Write = Callable[[str], str]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("ROLLBOOK_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def toml(tmp_path: Path) -> Write:
    def write(text: str) -> str:
        path = tmp_path / "settings.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def refused(**flags: object) -> str:
    with pytest.raises(Misconfigured) as caught:
        load_settings(flags)
    assert caught.value.code == "bad_setting"
    return str(caught.value)


def test_the_order_is_flag_environment_file_default(
    toml: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each level overrides the next, and the origin of every value is known."""
    file = toml('partitions = 2\nprefix = "file"\nbatch_commands = 5\n')
    monkeypatch.setenv("ROLLBOOK_PARTITIONS", "3")
    monkeypatch.setenv("ROLLBOOK_PREFIX", "env")
    loaded = load_settings({"partitions": 4, "prefix": None}, config=file)
    settings, origins = loaded.settings, loaded.origins
    assert (settings.partitions, origins["partitions"]) == (4, "flag")
    assert (settings.prefix, origins["prefix"]) == ("env", "environment ROLLBOOK_PREFIX")
    assert (settings.batch_commands, origins["batch_commands"]) == (5, file)
    assert origins["registry_url"] == "default"


def test_a_secret_comes_from_a_file_or_the_environment(
    toml: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are read without their last newline; the variable itself overrides them."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret \n", encoding="utf-8")
    file = toml(f'postgres_password_file = "{secret}"\n')
    assert load_settings(config=file).settings.postgres_password == "s3cret "
    monkeypatch.setenv("ROLLBOOK_POSTGRES_PASSWORD_FILE", str(secret))
    loaded = load_settings()
    assert loaded.settings.postgres_password == "s3cret "
    assert loaded.origins["postgres_password"] == "ROLLBOOK_POSTGRES_PASSWORD_FILE"
    monkeypatch.setenv("ROLLBOOK_POSTGRES_PASSWORD", "direct")
    assert load_settings().settings.postgres_password == "direct"
    monkeypatch.delenv("ROLLBOOK_POSTGRES_PASSWORD")
    monkeypatch.setenv("ROLLBOOK_POSTGRES_PASSWORD_FILE", str(tmp_path / "none"))
    with pytest.raises(Misconfigured, match="postgres_password"):
        load_settings()


def test_the_file_is_named_or_local_or_of_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default a command reads the file of the stack; a file that is named must exist."""
    assert find_config_file() is None
    stacks = tmp_path / "state" / "rollbook" / "stacks" / "default" / "rollbook.toml"
    stacks.parent.mkdir(parents=True)
    stacks.write_text("partitions = 1\n")
    assert find_config_file() == stacks
    Path("rollbook.toml").write_text("partitions = 2\n")
    assert find_config_file() == Path("rollbook.toml")
    monkeypatch.setenv("ROLLBOOK_CONFIG", str(stacks))
    assert find_config_file() == stacks
    with pytest.raises(Misconfigured, match="there is no configuration file"):
        find_config_file("missing.toml")


def test_stacks_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several stacks can run side by side, and their parent folder can be changed."""
    monkeypatch.setenv("ROLLBOOK_STACKS", str(tmp_path))
    assert stack_directory() == tmp_path / "default"
    monkeypatch.setenv("ROLLBOOK_STACK", "other")
    assert stack_directory() == tmp_path / "other"
    assert stack_directory("third") == tmp_path / "third"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("partitions", 0),
        ("partitions", 4097),
        ("partitions", 8.5),
        ("partitions", True),
        ("partitions", "many"),
        ("partitions", ""),
        ("partitions", float("inf")),
        ("replication_factor", 0),
        ("min_insync_replicas", 2),
        ("prefix", "Upper"),
        ("prefix", "-x"),
        ("prefix", "a" * 41),
        ("prefix", "a\n"),
        ("prefix", 7),
        ("transaction_timeout_seconds", 0),
        ("transaction_timeout_seconds", "nan"),
        ("session_timeout_seconds", "inf"),
        ("session_timeout_seconds", 0),
        ("outcomes_window_count", -1),
        ("outcomes_window_seconds", 604_801),
        ("batch_seconds", 5.1),
        ("clock_lead_seconds", -1),
        ("clock_lead_seconds", 59),
        ("special_use_domains", "local,com"),
        ("batch_commands", 0),
        ("dead_letters_in_a_row", 0),
        ("elasticsearch_replicas", -1),
        ("log_format", "xml"),
    ],
)
def test_an_invalid_value_is_refused_by_name(name: str, value: object) -> None:
    assert name in refused(**{name: value})


def test_every_setting_has_an_explanation() -> None:
    """`rollbook config show` prints it, and hides the values of secrets."""
    from dataclasses import fields

    for spec in fields(Settings):
        assert spec.metadata["explanation"]
        is_secret = spec.name.endswith(("_password", "_secret", "_api_key"))
        assert spec.metadata["secret"] == is_secret, spec.name


@pytest.mark.parametrize(("copies", "confirming"), [(1, 1), (2, 1), (3, 2), (5, 2)])
def test_two_of_three_copies_confirm_a_write_unless_set(copies: int, confirming: int) -> None:
    assert Settings(replication_factor=copies).min_insync_replicas == confirming
    assert Settings(replication_factor=copies, min_insync_replicas=1).min_insync_replicas == 1
