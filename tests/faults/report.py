"""`python -m tests.faults.report`: writes the tables of docs/reliability.md from docs/figures/.

So no figure on that page is copied by hand.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from scripts.bench.report.cells import table
from scripts.bench.report.page import with_tables
from tests.faults.nemesis.table import caught, read_table, summary
from tests.faults.recovery import table as recovery
from tests.faults.soak import report as soak

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs/reliability.md"
FIGURES: Final = ROOT / "docs/figures"


def tables() -> dict[str, str]:
    """Return the Markdown of each table by the name in its marker; none without its figures."""
    written = {
        "simulated": _simulated,
        "saboteurs": _saboteurs,
        "recovery": recovery.markdown,
        "brokers": _brokers,
        "soak": soak.markdown,
    }
    files = {name: FIGURES / f"{name}.json" for name in written}
    found = {
        name: written[name](json.loads(file.read_text("utf-8")))
        for name, file in files.items()
        if file.exists()
    }
    if (runs := FIGURES / "nemesis.ndjson").exists():
        rows = read_table(runs)
        found["nemesis"] = summary(rows)
        if any(row["saboteur"] for row in rows):
            found["caught"] = caught(rows)
    return found


def _simulated(found: dict[str, Any]) -> str:
    seeds = ", ".join(f"{first} to {last}" for first, last in found["seeds"])
    totals = [
        ("runs", f"{found['runs']:,}"),
        ("seeds", seeds),
        ("runs that broke a promise", len(found["failed"])),
        ("commands", f"{sum(found['answers'].values()):,}"),
    ]
    kinds: Counter[str] = Counter()
    for what, times in found["happened"].items():
        kinds[what.partition(" at ")[0]] += times
    happened = [(kind, f"{times:,}") for kind, times in kinds.items()]
    return f"{table(('', ''), totals)}\n\n{table(('what happened', 'count'), happened)}"


def _saboteurs(found: dict[str, Any]) -> str:
    rows = [
        (one["name"], one["seeds"] or f"not found in {found['most_seeds']}")
        for one in found["saboteurs"]
    ]
    return table(("what is missing", "seeds until it was noticed"), rows)


def _brokers(found: dict[str, Any]) -> str:
    rows = [
        (
            one["fault"],
            one["repetitions"],
            f"{one['stalled_seconds_p50']:.1f}",
            f"{one['stalled_seconds_worst']:.1f}",
            f"{one['confirmed_commands']:,}",
            one["lost"],
        )
        for one in found["faults"]
    ]
    head = ("fault", "times", "median stall, s", "worst stall, s", "confirmed commands", "lost")
    return table(head, rows)


def main() -> None:
    """Write the page."""
    text = with_tables(PAGE.read_text("utf-8"), tables())
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
