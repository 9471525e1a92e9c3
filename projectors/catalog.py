"""The read models by name, built-in and custom; the only module that names the built-in ones."""

from collections.abc import Callable
from importlib import import_module
from typing import TypeAlias, cast

from projectors.contract.read_model import ReadModelVersions
from runtime.printable import name_in_error
from runtime.settings import Settings
from schemas.errors import Misconfigured

Opener: TypeAlias = Callable[[Settings], ReadModelVersions]


def _postgres(settings: Settings) -> ReadModelVersions:
    from projectors.postgres.users.writer import postgres_versions

    return postgres_versions(settings)


def _history(settings: Settings) -> ReadModelVersions:
    from projectors.history.writer import history_versions

    return history_versions(settings)


def _elasticsearch(settings: Settings) -> ReadModelVersions:
    from projectors.elasticsearch.index.versions import ElasticsearchVersions

    return ElasticsearchVersions(settings)


OURS: dict[str, Opener] = {
    "postgres": _postgres,
    "history": _history,
    "elasticsearch": _elasticsearch,
}


def read_models(settings: Settings) -> dict[str, Opener]:
    """Return read model name → the function that opens its versions; connects to nothing.

    Includes the built-in ones and those of the setting `read_models`. Raises `Misconfigured` if one
    cannot be imported.
    """
    entries = [entry.strip() for entry in settings.read_models.split(",") if entry.strip()]
    return OURS | dict(map(_imported, entries))


def open_versions(settings: Settings, name: str) -> ReadModelVersions:
    """Return the versions of the read model `name`.

    Raises `Misconfigured` (`unknown_read_model`) if no read model has that name.
    """
    known = read_models(settings)
    if name not in known:
        raise Misconfigured(
            f"there is no read model {name_in_error(name)}",
            code="unknown_read_model",
            next_step=f"known: {', '.join(known)}; the setting read_models adds others",
        )
    return known[name](settings)


def _imported(entry: str) -> tuple[str, Opener]:
    name, _, place = entry.partition("=")
    module, _, attribute = place.partition(":")
    if name in OURS:
        raise _wrong(entry, f"{name} is a built-in read model of rollbook")
    try:
        opener = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise _wrong(entry, f"it cannot be imported: {error}") from None
    if getattr(opener, "name", name) != name or not callable(opener):
        raise _wrong(entry, f"it is not a read model called {name}")

    def open_checked(settings: Settings) -> ReadModelVersions:
        versions = cast("Opener", opener)(settings)
        # A function has no name to check before it is called.
        if versions.name != name:
            raise _wrong(entry, f"it opens a read model called {versions.name}")
        return versions

    return name, open_checked


def _wrong(entry: str, why: str) -> Misconfigured:
    return Misconfigured(
        f"setting read_models: {entry}: {why}",
        code="bad_setting",
        next_step="write it as NAME=package.module:Class, or a function instead of the class; "
        "what it returns for the settings must have that name",
    )
