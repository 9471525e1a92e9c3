"""Values that fit an Avro schema, and schemas that another release could have instead of ours."""

from typing import Any

from hypothesis import strategies as st

# Characters of every width; lone surrogates cannot be encoded and are refused before.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
LONGS = st.integers(-(2**63), 2**63 - 1) | st.integers(1_080_000_000_000, 2_300_000_000_000)

_PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "string": TEXTS,
    "bytes": st.binary(max_size=80),
    "boolean": st.booleans(),
    "long": LONGS,
    "int": st.integers(-(2**31), 2**31 - 1),
    "double": st.floats(allow_nan=False),
}
_ORDINARY: dict[str, Any] = {
    "null": None,
    "string": "Jürgen",
    "bytes": b"digest",
    "boolean": True,
    "int": 42,
    "long": 300,
}


def values(schema: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for values that fit a schema."""
    if isinstance(schema, list):
        return st.one_of(*(values(branch) for branch in schema))
    kind = _kind(schema)
    if kind == "record":
        return st.fixed_dictionaries({f["name"]: values(f["type"]) for f in schema["fields"]})
    if kind == "array":
        return st.lists(values(schema["items"]), max_size=3)
    if kind == "map":
        return st.dictionaries(TEXTS, values(schema["values"]), max_size=2)
    if kind == "enum":
        return st.sampled_from(schema["symbols"])
    return _PLAIN[kind]


def ordinary(schema: Any) -> Any:
    """Return an ordinary value that fits a schema."""
    if isinstance(schema, list):
        return ordinary(schema[-1])
    kind = _kind(schema)
    if kind == "record":
        return {field["name"]: ordinary(field["type"]) for field in schema["fields"]}
    if kind == "array":
        return [ordinary(schema["items"])]
    if isinstance(schema, dict):
        return 1_790_000_000_000
    return _ORDINARY[kind]


def _kind(schema: Any) -> str:
    return str(schema["type"] if isinstance(schema, dict) else schema)


@st.composite
def of_another_release(draw: st.DrawFn, schema: Any) -> Any:
    """Draw what another release could have instead of `schema`, compatible with it or not.

    Fields and branches are missing, added, widened and in another order.
    """
    if isinstance(schema, list):
        branches = [draw(of_another_release(branch)) for branch in schema]
        added = draw(st.sampled_from(["nothing", "boolean", "double", "bytes"]))
        branches += [] if added in ["nothing", *branches] else [added]
        kinds = {str(_kind(branch)): branch for branch in branches}  # a union has each type once
        return draw(st.permutations(list(kinds.values())))
    kind = _kind(schema)
    if kind == "record":
        kept = [field for field in schema["fields"] if draw(st.integers(0, 9))]
        fields = [f | {"type": draw(_widened(f["type"]))} for f in kept]
        fields += draw(_added_fields(schema["name"]))
        return schema | {"fields": draw(st.permutations(fields))}
    if kind == "array":
        return schema | {"items": draw(of_another_release(schema["items"]))}
    if kind == "long":
        return draw(st.sampled_from([schema, schema, "int"]))
    if kind in {"string", "bytes"}:
        return draw(st.sampled_from([*[kind] * 20, "string", "bytes"]))
    return schema


@st.composite
def _widened(draw: st.DrawFn, schema: Any) -> Any:
    changed = draw(of_another_release(schema))
    widens = not isinstance(changed, list) and not draw(st.integers(0, 5))
    return ["null", changed] if widens else changed


@st.composite
def _added_fields(draw: st.DrawFn, record: str) -> list[Any]:
    within = {"type": "record", "name": f"Within{record}", "fields": [{"name": "a", "type": "int"}]}
    types = [
        *["string", "bytes", "boolean", "long", "int", ["null", "string"], within],
        {"type": "array", "items": ["long", "string"]},
        {"type": "array", "items": within},
        *["double", {"type": "map", "values": "long"}],
        {"type": "enum", "name": f"Enum{record}", "symbols": ["A", "B"]},
    ]
    drawn = draw(st.lists(st.sampled_from(types), max_size=2, unique_by=str))
    if sum("Within" in str(one) for one in drawn) > 1:  # a record is defined once
        drawn = drawn[:1]
    return [{"name": f"new_{number}", "type": one} for number, one in enumerate(drawn)]
