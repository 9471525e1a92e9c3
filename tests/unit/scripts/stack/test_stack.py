"""What of the local stack can be tried without servers: ports, places, specifications, pauses."""

import configparser
import os
import stat
from pathlib import Path

import pytest

from schemas.errors import Misconfigured
from scripts.stack.cli import parse_ports
from scripts.stack.fetch import last_lines
from scripts.stack.jdk import judge
from scripts.stack.local import LocalStack
from scripts.stack.paced import LONGEST_PAUSE_SECONDS, pause_seconds
from scripts.stack.places import (
    DEFAULT_PORTS,
    ServerUser,
    choose_ports,
    data_directory,
    is_free,
    reachable,
)
from scripts.stack.record import password_file, read_record, write_private, write_settings
from scripts.stack.services import is_same
from scripts.stack.show import duration
from scripts.stack.supervise import Program, program_section

SOMEBODY = ServerUser("somebody", uid=os.getuid() + 4711, gid=os.getgid() + 4711)


def test_ports_are_the_defaults_but_for_those_that_are_given() -> None:
    """A port given on the command line counts; the others stay where the settings expect them."""
    assert choose_ports({"kafka": 29092}, free=False) == {**DEFAULT_PORTS, "kafka": 29092}


def test_free_ports_are_all_different_and_free() -> None:
    """Stacks side by side, and servers within one, never share a port."""
    ports = choose_ports({}, free=True)
    assert len(set(ports.values())) == len(DEFAULT_PORTS)
    assert all(is_free(port) for port in ports.values())


@pytest.mark.parametrize("ports", [{"mysql": 1234}, {"kafka": 5000, "postgres": 5000}])
def test_ports_that_cannot_be_are_refused(ports: dict[str, int]) -> None:
    """An unknown server or a port given twice is said at once, not found by a server that dies."""
    with pytest.raises(Misconfigured):
        choose_ports(ports, free=False)


@pytest.mark.parametrize("text", ["kafka", "kafka=", "kafka=0", "kafka=65536", "kafka=x", "=٣"])
def test_a_port_is_a_number_a_server_can_listen_on(text: str) -> None:
    """`--port` takes SERVER=N and nothing else."""
    with pytest.raises(Misconfigured):
        parse_ports([text])


def test_a_file_in_a_closed_home_is_out_of_reach_for_the_servers_user(tmp_path: Path) -> None:
    """One closed folder on the way is enough; that is how root's home is."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    assert not reachable(home / "java", SOMEBODY)
    assert reachable(home / "java", None) is False  # it is not there
    (home / "java").touch()
    assert reachable(home / "java", None)


def test_stacks_of_one_name_in_two_homes_keep_their_data_apart(tmp_path: Path) -> None:
    """Data moved out of a closed home stays one stack's alone; in an open one it stays inside."""
    homes = [tmp_path / name / "default" for name in ("one", "two")]
    for home in homes:
        home.mkdir(parents=True)
        home.parent.chmod(0o700)
    assert data_directory(homes[0], None) == homes[0] / "data"
    assert data_directory(homes[0], SOMEBODY) != data_directory(homes[1], SOMEBODY)


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
    """A Java that is too old or lacks what Elasticsearch needs is passed over with the reason."""
    found, why = judge(listed)
    assert found == version
    assert problem in why
    assert bool(problem) == bool(why)


def test_the_supervisor_reads_back_exactly_the_command(tmp_path: Path) -> None:
    """Blanks, quotes and percent signs in paths change nothing of what is run."""
    import shlex

    command = ["/opt/a b/java", "-Dx=%h", 'say "hi"', "it's"]
    program = Program("kafka", command, tmp_path / "100%", priority=1, final_exit_codes=(2,))
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(" ;",))
    parser.read_string(program_section(program, tmp_path / "x.log", None))
    section = parser["program:kafka"]
    # The supervisor expands %% before it splits the command.
    assert shlex.split(section["command"].replace("%%", "%")) == command
    assert section["directory"].replace("%%", "%") == str(program.directory)
    assert section["autorestart"] == "unexpected"
    assert section["exitcodes"] == "2"


def test_a_service_that_keeps_failing_is_started_ever_more_slowly() -> None:
    """The first start is prompt, the next ones wait longer, up to a bound, and never stop."""
    assert pause_seconds([], now=100.0) == 0
    assert [pause_seconds([100.0] * n, now=100.0) for n in (1, 2, 3)] == [0.5, 1.0, 2.0]
    assert pause_seconds([100.0] * 10, now=100.0) == LONGEST_PAUSE_SECONDS


def test_a_service_that_had_run_well_is_started_again_at_once() -> None:
    """Failures of the past do not slow down a process that ran for minutes."""
    assert pause_seconds([0.0, 1.0, 2.0], now=500.0) == 0


def test_the_same_service_from_another_shell_is_the_same() -> None:
    """`up` twice restarts nothing, unless the command or a setting of ours changed."""
    service = {"command": ["a"], "environment": {"ROLLBOOK_PREFIX": "x", "SHLVL": "1"}}
    elsewhere = {"command": ["a"], "environment": {"ROLLBOOK_PREFIX": "x", "SHLVL": "2"}}
    other = {"command": ["a"], "environment": {"ROLLBOOK_PREFIX": "y", "SHLVL": "1"}}
    assert is_same(service, elsewhere)
    assert not is_same(service, other)
    assert not is_same({}, service)


def test_the_last_lines_of_a_log_tell_what_failed(tmp_path: Path) -> None:
    """Java's stack frames are left out: the cause stands before them."""
    log = tmp_path / "x.log"
    frames = "\n".join(f"\tat io.netty.Channel.bind(Channel.java:{n})" for n in range(50))
    log.write_text(f"BindException: Address already in use\n{frames}\n\t... 4 more\n\n")
    assert last_lines(log) == "  BindException: Address already in use"
    assert "no log" in last_lines(tmp_path / "away.log")


def test_what_is_private_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    """Passwords and environments never stand in a file that others can read."""
    write_private(tmp_path / "new" / "secret", "x")
    assert stat.S_IMODE((tmp_path / "new" / "secret").stat().st_mode) == 0o600


def test_the_settings_of_a_stack_lead_every_command_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `stack up` a pasted command finds the servers without any set-up."""
    from runtime.settings import load_settings

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
    assert "guessed" not in (stack.directory / "rollbook.toml").read_text()


def test_a_stack_that_never_was_up_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for the state of nothing, or stopping it, is harmless and makes nothing."""
    monkeypatch.setenv("ROLLBOOK_STACKS", str(tmp_path))
    stack = LocalStack("never")
    assert read_record(stack.directory) is None
    assert {status.state for status in stack.status()} == {"stopped"}
    assert stack.down(wipe=True) is False
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["..", "a/b", "Default", "-x", "a" * 41])
def test_a_name_that_is_no_folder_name_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`down --wipe` deletes a folder of that name: it must be one of ours."""
    monkeypatch.setenv("ROLLBOOK_STACKS", str(tmp_path / "Stacks"))
    with pytest.raises(Misconfigured):
        LocalStack(name)


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (7.4, "7 s"), (180, "3 min"), (18_720, "5.2 h")]
)
def test_durations_are_readable(seconds: float | None, text: str) -> None:
    """An uptime is told in the unit people would use."""
    assert duration(seconds) == text


def test_docker_publishes_a_port_for_each_server_and_kibana() -> None:
    """In containers the servers' internal ports need none; a given port counts there too."""
    from scripts.stack import docker

    ports = docker.published_ports({"kibana": 23456}, free=False)
    assert ports["kibana"] == 23456
    assert set(ports) == set(docker.SERVERS)
    free = docker.published_ports({}, free=True)
    assert len(set(free.values())) == len(docker.SERVERS)
