"""The report of a soak: as JSON, as a picture, and as a table in Markdown."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from scripts.bench.report.cells import table
from tests.faults.soak.picture import draw
from tests.faults.soak.series import MEASURES, Series, Verdict

_POINTS: Final = 120


def series_rows(
    series: Mapping[tuple[str, str], Series],
    verdicts: Mapping[tuple[str, str], Verdict],
    seconds: float,
) -> Iterator[dict[str, Any]]:
    """Yield each series with its verdict, in as many points as a picture shows."""
    for place, one in series.items():
        verdict, thin = verdicts[place], one.thinned(seconds, _POINTS)
        yield {
            "measure": verdict.measure,
            "process": verdict.process,
            "middle_third": _rounded(verdict.middle),
            "last_third": _rounded(verdict.last),
            "may_gain": _rounded(verdict.limit),
            "is_flat": verdict.is_flat,
            "times": thin.times,
            "values": thin.values,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def markdown(report: Mapping[str, Any]) -> str:
    """Return a row for each process, and in it the levels of the middle and of the last third."""
    found = {(one["measure"], one["process"]): one for one in report["series"]}
    names = [name for name in MEASURES if any(measure == name for measure, _ in found)]
    processes = dict.fromkeys(process for _, process in found)
    rows = [
        (process, *(_cell(found.get((name, process))) for name in names)) for process in processes
    ]
    return table(("process", *(MEASURES[name].title for name in names)), rows)


def _cell(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return ""
    if one["middle_third"] is None:
        return "not measured"
    sign = "+" if MEASURES[one["measure"]].accumulates else ""
    text = f"{one['middle_third']:{sign},.1f} → {one['last_third']:{sign},.1f}"
    return text if one["is_flat"] else f"**{text}**"


def write(report: Mapping[str, Any], figures: Path, pictures: Path) -> None:
    """Write the report and its picture into these directories."""
    for directory in (figures, pictures):
        directory.mkdir(parents=True, exist_ok=True)
    (figures / "soak.json").write_text(json.dumps(report) + "\n", encoding="utf-8")
    (pictures / "soak.svg").write_text(draw(report), encoding="utf-8")
