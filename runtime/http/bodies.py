"""Reads the JSON bodies of requests more strictly than JSON libraries do.

What two readers could understand differently is refused: a key that occurs twice, NaN, bytes that
are not UTF-8, half of a surrogate pair. The messages never repeat a value.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import orjson
from starlette.requests import Request

from runtime.http.admission import media_type
from schemas.errors import Rejected

JSON: Final = frozenset({"application/json"})
_PLAIN_TYPES: Final = frozenset({str, int, bool, type(None)})
_PLAIN_NAME: Final = re.compile(r"\w{1,40}", re.ASCII)
MERGE_PATCH: Final = frozenset({"application/json", "application/merge-patch+json"})


async def read_object(request: Request, allowed: frozenset[str] = JSON) -> dict[str, Any]:
    """Return the body, a JSON object, of one of the content types `allowed`.

    Raises `Rejected`: `unsupported_media_type`, `body_too_large`, `malformed_body`.
    """
    media_type(request.headers.get("content-type", ""), allowed)
    return parse_object(await request.body())


def parse_object(content: bytes) -> dict[str, Any]:
    """Return a JSON object. Raises `Rejected` (`malformed_body`) for anything else."""
    plain = _plain_object(content)
    return _strict_object(content) if plain is None else plain


def _plain_object(content: bytes) -> dict[str, Any] | None:
    """Return an object of texts, whole numbers of 64 bits and the like; None for anything else.

    orjson needs a tenth of the time, but keeps the last of two equal keys. Each pair has a colon:
    with as many colons as keys, no key occurs twice. It turns long whole numbers into floats,
    inside arrays too: so whatever has floats or parts is left to the strict reader.
    """
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    if type(found) is not dict or content.count(b":") != len(found):
        return None
    return found if _PLAIN_TYPES.issuperset(map(type, found.values())) else None


def _strict_object(content: bytes) -> dict[str, Any]:
    try:
        found = _DECODER.decode(content.decode())
        if b"\\ud" in content.lower():
            # An escape may stand for half of a character, which cannot be written again.
            json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _malformed("the body has half of a surrogate pair") from None
    except UnicodeDecodeError:
        raise _malformed("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _malformed(
            f"the body is not valid JSON at line {error.lineno}, column {error.colno}"
        ) from None
    except ValueError:  # from Python's limit on the digits of a number
        raise _malformed("the body has a number that is too long") from None
    except RecursionError:
        raise _malformed("the body is nested too deeply") from None
    if not isinstance(found, dict):
        raise _malformed("the body is not a JSON object")
    return found


def refuse_unknown(found: dict[str, Any], known: Sequence[str]) -> None:
    """Raise `Rejected` (`unknown_field`) if the body has a field that is not `known`."""
    for name in found:
        if name not in known:
            shown = f"{name} " if _PLAIN_NAME.fullmatch(name) else ""
            raise Rejected(
                f"the body has a field {shown}that is not known here",
                code="unknown_field",
                next_step=f"the fields are {', '.join(known)}" if known else "send none",
            )


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _malformed("the body has a key that occurs twice in one object")
    return found


def _no_number(_text: str) -> NoReturn:
    raise _malformed("the body has NaN or Infinity, which JSON does not have")


def _malformed(message: str) -> Rejected:
    return Rejected(message, code="malformed_body", next_step="correct the JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_without_repetition, parse_constant=_no_number)
