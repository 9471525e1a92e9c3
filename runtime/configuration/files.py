"""The files that settings come from: where they are, and how they are read.

They are looked for in the working directory and in rollbook's folder of the XDG state directory.
"""

import os
import tomllib
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from schemas.errors import Misconfigured


def stack_directory(name: str | None = None) -> Path:
    """Return the folder of the local stack `name`: its configuration, logs and usually its data.

    `ROLLBOOK_STACKS` overrides the parent directory, the XDG state directory's `rollbook/stacks`.
    """
    parent = os.environ.get("ROLLBOOK_STACKS")
    stacks = Path(parent) if parent else state_home() / "stacks"
    return stacks / (name or os.environ.get("ROLLBOOK_STACK") or "default")


def state_home() -> Path:
    """Return rollbook's folder in the XDG state directory. Raises as `home` does."""
    given = os.environ.get("XDG_STATE_HOME")
    return (Path(given) if given else home() / ".local" / "state") / "rollbook"


def home() -> Path:
    """Return the user's home directory.

    Raises `Misconfigured` (`no_home`) without HOME if the system does not know the user, as in a
    container that runs under any uid.
    """
    try:
        return Path.home()
    except RuntimeError:
        raise Misconfigured(
            f"user {os.getuid()} has no home directory",
            code="no_home",
            next_step="set HOME; for lock files alone, set state_directory",
        ) from None


def find_config_file(named: str | None = None) -> Path | None:
    """Return the TOML file to read, or None.

    Raises `Misconfigured` if a file that was named does not exist.
    """
    named = named or os.environ.get("ROLLBOOK_CONFIG")
    if named:
        path = Path(named)
        if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for a name too long
            raise Misconfigured(
                f"there is no configuration file {path}",
                code="bad_setting",
                next_step="correct --config or ROLLBOOK_CONFIG",
            )
        return path
    candidates = [Path("rollbook.toml")]
    with suppress(Misconfigured):  # without a home directory there is no stack of this user
        candidates.append(stack_directory() / "rollbook.toml")
    # Unlike `Path.is_file`, this returns False in a folder that we may not enter.
    return next((path for path in candidates if os.path.isfile(path)), None)  # noqa: PTH113


def read_toml(path: Path, known: Collection[str]) -> dict[str, Any]:
    """Return the values of a TOML file.

    Raises `Misconfigured` if it cannot be read or has a setting that is not `known`.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Misconfigured(f"cannot read {path}: {_why(error)}", code="bad_setting") from None
    unknown = sorted(set(content) - set(known))
    if unknown:
        raise Misconfigured(
            f"{path} has an unknown setting {unknown[0]}",
            code="bad_setting",
            next_step="correct or remove it; then `rollbook config show` lists all settings",
        )
    return content


def read_secret(path: str, name: str) -> str:
    """Return the text of a file of a secret, without a BOM and the last newline (LF or CR LF).

    Raises `Misconfigured`, naming the setting, if it cannot be read. It never quotes `path`, which
    may be the secret itself, given as the wrong setting.
    """
    try:
        # Bytes: reading as text would change every CR LF.
        text = Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, ValueError, TypeError) as error:
        why = error.strerror if isinstance(error, OSError) else _why(error)
        raise Misconfigured(
            f"cannot read the file for setting {name}: {why}",
            code="bad_setting",
            next_step=f"{name}_file must be the path of a file that this user may read",
        ) from None
    return text.rstrip("\r\n")


def _why(error: Exception) -> str:
    """Return why a file cannot be read.

    It quotes nothing of the content, which may be secret, and no path: in place of a file's name,
    somebody may have given the secret itself.
    """
    if isinstance(error, OSError):
        return os.strerror(error.errno or 0)
    return "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
