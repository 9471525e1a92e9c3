"""How `up` itself reaches the servers of a stack, and what it writes for everybody else."""

from collections.abc import Collection, Mapping
from pathlib import Path

from runtime.settings import Settings, load_settings
from schemas.errors import Misconfigured
from scripts.stack.brokers import broker_names
from scripts.stack.record import plain_settings, read_record, write_settings
from scripts.stack.secure.logins import admin_settings, rewrite_roles, role_file


def is_secure(stack: Path) -> bool:
    """Return whether the servers of the stack demand TLS and logins."""
    record = read_record(stack)
    return record is not None and record.secure


def refuse_plain(stack: Path, *, secure: bool) -> None:
    """Raise `Misconfigured` if a stack that was started without --secure is now wanted `secure`."""
    record = read_record(stack)
    if secure and record is not None and not record.secure:
        raise Misconfigured(
            f"stack {stack.name} was started without --secure, and its servers keep their data",
            code="other_mode",
            next_step="start another with --name, or delete it: "
            f"`rollbook down --wipe --name {stack.name}`",
        )


def choose_broker_count(stack: Path, wanted: int | None, *, secure: bool) -> int:
    """Return how many brokers the stack has or is to have: without a record, `wanted` or one.

    Raises `Misconfigured` if it was started with another number, or is `secure` and not with one.
    """
    record = read_record(stack)
    count = len(broker_names(record.ports)) if record else wanted or 1
    if wanted not in {None, count}:
        raise Misconfigured(
            f"stack {stack.name} was started with {count} broker{'s' * (count > 1)}, and its "
            "servers keep their data",
            code="other_mode",
            next_step="start another with --name, or delete it: "
            f"`rollbook down --wipe --name {stack.name}`",
        )
    if secure and count > 1:
        raise Misconfigured(
            "a secure stack has one broker",
            code="other_mode",
            next_step="leave out --secure or --brokers",
        )
    return count


def own_settings(stack: Path, ports: Mapping[str, int]) -> Settings:
    """Return settings that may do everything on the servers of the stack."""
    return admin_settings(stack, ports) if is_secure(stack) else plain_settings(stack, ports)


def write_access(stack: Path, ports: Mapping[str, int], servers: Collection[str]) -> None:
    """Write the settings that lead to the running servers; of a secure stack, for each role."""
    if not is_secure(stack):
        write_settings(stack, ports)
        return
    from scripts.stack.secure.roles import grant_roles

    rewrite_roles(stack, ports)
    grant_roles(stack, Settings(), servers=servers)


def operator_settings(stack: Path) -> Settings:
    """Return this shell's settings for the stack; on a secure one, with the operator's login.

    There, that of the shell's prefix, if `up` or `grant_roles` has created one.
    """
    settings = load_settings(config=str(stack / "rollbook.toml")).settings
    own = role_file(stack, "operator", settings.prefix)
    return load_settings(config=str(own)).settings if own.exists() else settings
