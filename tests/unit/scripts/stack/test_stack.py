"""The parts of the local stack that need no servers: ports, folders, Java, Maven, services."""

import configparser
import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from runtime.settings import load_settings
from schemas.errors import Misconfigured
from scripts.stack import docker, places
from scripts.stack.cli import _print_status
from scripts.stack.download.jdk import judge
from scripts.stack.log_end import last_lines
from scripts.stack.native.local import LocalStack
from scripts.stack.native.programs import Program, program_section, service_script
from scripts.stack.places import (
    DEFAULT_PORTS,
    ServerUser,
    choose_ports,
    data_directory,
    filled_once,
    is_free,
    parse_ports,
    reachable,
)
from scripts.stack.record import (
    ProcessStatus,
    StackRecord,
    duration,
    password_file,
    read_record,
    servers_data,
    write_private,
    write_record,
    write_settings,
)

SOMEBODY = ServerUser("somebody", uid=os.getuid() + 4711, gid=os.getgid() + 4711)
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as another user")


def test_a_given_port_replaces_the_default() -> None:
    assert choose_ports({"kafka": 29092}, free=False) == {**DEFAULT_PORTS, "kafka": 29092}


def test_free_ports_are_all_different_and_free() -> None:
    """Stacks side by side, and servers within one, never share a port."""
    ports = choose_ports({}, free=True)
    assert len(set(ports.values())) == len(DEFAULT_PORTS)
    assert all(is_free(port) for port in ports.values())


def test_stacks_that_start_at_one_moment_choose_different_ports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither listens yet, and the choice is small."""
    monkeypatch.setattr(places, "_FREE_PORTS", range(31_000, 31_050))
    one, other = choose_ports({}, free=True), choose_ports({}, free=True)
    assert set(one.values()).isdisjoint(other.values())


@pytest.mark.parametrize("character", list(":;,#\"'\\$*?[]\n\udcff"))
def test_a_folder_that_servers_cannot_use_is_refused(
    monkeypatch: pytest.MonkeyPatch, character: str
) -> None:
    """One sentence instead of a server that fails to start."""
    monkeypatch.setenv("ROLLBOOK_STACKS", f"/x{character}y")
    with pytest.raises(Misconfigured, match="has the character") as refused:
        LocalStack("default")
    assert refused.value.code == "bad_path"


def test_supervisord_finds_services_in_a_folder_with_spaces(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It splits its list of patterns at spaces. Java and the servers were tried by hand."""
    from glob import glob

    monkeypatch.setenv("ROLLBOOK_STACKS", str(tmp_path / "a (b) & é 100%"))
    stack = LocalStack("default")
    programs = stack.directory / "programs"
    programs.mkdir(parents=True)
    (programs / "one.conf").touch()
    text = stack.supervisor._configuration()
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(text)
    [pattern] = parser["include"]["files"].replace("%%", "%").split()
    assert glob(pattern) == [str(programs / "one.conf")]  # noqa: PTH207 - as supervisord does


@pytest.mark.parametrize("ports", [{"mysql": 1234}, {"kafka": 5000, "postgres": 5000}])
def test_invalid_ports_are_refused(ports: dict[str, int]) -> None:
    """An unknown server or a port used twice is an error before any server starts."""
    with pytest.raises(Misconfigured):
        choose_ports(ports, free=False)


@pytest.mark.parametrize("text", ["kafka", "kafka=", "kafka=0", "kafka=65536", "kafka=x", "=٣"])
def test_a_port_is_a_number_a_server_can_listen_on(text: str) -> None:
    """`--port` takes SERVER=N and nothing else."""
    with pytest.raises(Misconfigured):
        parse_ports([text])


@only_root
def test_a_file_in_a_closed_home_is_out_of_reach_for_the_servers_user(tmp_path: Path) -> None:
    """One closed folder on the path is enough, and root's home usually is one."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "java").touch()
    assert reachable(home / "java", None)
    assert not reachable(home / "java", SOMEBODY)
    assert not reachable(home / "missing", None)


@only_root
def test_stacks_of_one_name_in_two_homes_do_not_share_data(tmp_path: Path) -> None:
    """Data that cannot be kept in a closed home gets a folder that depends on the home."""
    homes = [tmp_path / name / "default" for name in ("one", "two")]
    for home in homes:
        home.mkdir(parents=True)
        home.parent.chmod(0o700)
    assert data_directory(homes[0], None) == homes[0] / "data"
    assert data_directory(homes[0], SOMEBODY) != data_directory(homes[1], SOMEBODY)


def test_a_stack_finds_its_data_where_its_first_start_put_it(tmp_path: Path) -> None:
    """If a home was closed then and is open now, the data are still outside of it."""
    stack, elsewhere = tmp_path / "default", tmp_path / "elsewhere"
    write_record(stack, StackRecord("native", {}, str(elsewhere)))
    assert servers_data(stack) == elsewhere


@pytest.mark.parametrize(
    ("listed", "version", "problem"),
    [
        ("java.base@25.0.3\njdk.incubator.vector@25.0.3\n", 25, ""),
        ("java.base@21\njdk.incubator.vector@21\n", 21, ""),
        ("java.base@17.0.15\njdk.incubator.vector@17.0.15\n", 17, "too old"),
        ("java.base@25.0.3\n", 25, "lacks jdk.incubator.vector"),
        ("", 0, "does not run"),
    ],
)
def test_a_jdk_is_judged_by_version_and_module(listed: str, version: int, problem: str) -> None:
    """An installed Java that is too old or incomplete is not used, and the reason is given."""
    found, why = judge(listed)
    assert found == version
    assert problem in why
    assert bool(problem) == bool(why)


def test_a_folder_in_the_cache_is_complete_or_missing(tmp_path: Path) -> None:
    """A fetch that fails leaves no such folder, and the next one starts again."""
    folder = tmp_path / "folder"

    def fail(partial: Path) -> None:
        (partial / "half").touch()
        raise InterruptedError

    with pytest.raises(InterruptedError):
        filled_once(folder, fail)
    assert not folder.exists()
    for name in ("first", "second"):
        filled_once(folder, lambda partial, name=name: (partial / name).touch())  # type: ignore[misc]
    assert [path.name for path in folder.iterdir()] == ["first"]


def test_the_supervisor_reads_back_exactly_the_command(tmp_path: Path) -> None:
    """Blanks, quotes and percent signs in paths do not change what is run."""
    command = ["/opt/a b/java", "-Dx=%h", 'say "hi"', "it's"]
    program = Program("kafka", command, tmp_path / "100%", priority=1, final_exit_codes=(2,))
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(" ;",))
    parser.read_string(program_section(program, tmp_path / "x.log", None))
    section = parser["program:kafka"]
    # supervisord expands %% before it splits the command.
    assert shlex.split(section["command"].replace("%%", "%")) == command
    assert section["directory"].replace("%%", "%") == str(program.directory)
    assert section["autorestart"] == "unexpected"
    assert section["exitcodes"] == "2"


def test_a_service_gets_its_environment_unchanged() -> None:
    """A password may contain any character."""
    value = 'it\'s 100% "mine",\n$(date) `id` \\'
    script = service_script(["printenv", "ROLLBOOK_X"], {"ROLLBOOK_X": value})
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True)
    assert done.stdout == value + "\n"


def test_the_last_lines_of_a_log_show_what_failed(tmp_path: Path) -> None:
    """Java's stack frames are left out: the cause is printed before them."""
    log = tmp_path / "x.log"
    frames = "\n".join(f"\tat io.netty.Channel.bind(Channel.java:{n})" for n in range(50))
    log.write_text(f"BindException: Address already in use\n{frames}\n\t... 4 more\n\n")
    assert last_lines(log) == "  BindException: Address already in use"
    assert "no log" in last_lines(tmp_path / "away.log")


def test_private_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    """Passwords and environments are never in a file that others can read."""
    write_private(tmp_path / "new" / "secret", "x")
    assert stat.S_IMODE((tmp_path / "new" / "secret").stat().st_mode) == 0o600


def test_the_settings_of_a_stack_lead_every_command_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `stack up` a pasted command finds the servers without any configuration."""
    for variable in [name for name in os.environ if name.startswith("ROLLBOOK_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROLLBOOK_STACKS", str(tmp_path))
    monkeypatch.setenv("ROLLBOOK_STACK", "mine")
    stack = LocalStack()
    write_private(password_file(stack.directory), "guessed\n")
    write_settings(stack.directory, {**DEFAULT_PORTS, "kafka": 29092})
    settings = load_settings().settings
    assert settings.kafka_bootstrap_servers == "127.0.0.1:29092"
    assert settings.postgres_password == "guessed"
    # Two stacks can both run a handler called local-1.
    assert settings.state_directory == str(stack.directory)
    assert "guessed" not in (stack.directory / "rollbook.toml").read_text()


def test_a_stack_that_never_was_up_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for the state of a missing stack, or stopping it, has no effect."""
    monkeypatch.setenv("ROLLBOOK_STACKS", str(tmp_path))
    stack = LocalStack("never")
    assert read_record(stack.directory) is None
    assert {status.state for status in stack.status()} == {"stopped"}
    assert stack.down(wipe=True) is False
    assert list(tmp_path.iterdir()) == []


def test_the_record_of_another_release_is_read(tmp_path: Path) -> None:
    """A later one may have more fields, an earlier one fewer."""
    assert read_record(tmp_path) is None
    write_private(tmp_path / "stack.json", '{"mode": "docker", "ports": {"kafka": 1}, "note": 2}')
    assert read_record(tmp_path) == StackRecord("docker", {"kafka": 1})


@pytest.mark.parametrize("name", ["..", "a/b", "Default", "-x", "a" * 41])
def test_a_name_that_is_not_a_plain_word_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`down --wipe` deletes a folder of that name: it must be one that `up` created."""
    monkeypatch.setenv("ROLLBOOK_STACKS", str(tmp_path / "Stacks"))
    with pytest.raises(Misconfigured):
        LocalStack(name)


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (7.4, "7 s"), (180, "3 min"), (18_720, "5.2 h")]
)
def test_durations_are_readable(seconds: float | None, text: str) -> None:
    """An uptime is shown in the unit that people would use."""
    assert duration(seconds) == text


def test_docker_publishes_a_port_for_each_server_and_each_service_over_http() -> None:
    """Containers do not publish the servers' internal ports; a given port is used here too."""
    ports = docker.published_ports({"kibana": 23456}, free=False)
    assert ports["kibana"] == 23456
    assert set(ports) == {*docker.SERVERS, "commands", "queries", "console"}
    free = docker.published_ports({}, free=True)
    assert len(set(free.values())) == len(ports)


@pytest.mark.parametrize("metrics_port", [None, 9464])
def test_the_status_of_an_observed_stack_shows_where_metrics_are(
    metrics_port: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The column is left out if it would be empty."""
    handler = ProcessStatus("handler", "service", "running", 1, 1.0, None, "log", metrics_port)
    _print_status("any", [handler], as_json=False)
    printed = capsys.readouterr().out
    assert ("metrics" in printed) == (metrics_port is not None)
    assert ("http://127.0.0.1:9464/metrics" in printed) == (metrics_port is not None)
