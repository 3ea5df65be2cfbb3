"""The tables of docs/gate.md from results/gates/*.json, as Markdown on standard output.

python benchmarks/gate_table.py [results/gates]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

BUDGET = "0.05"
SHOWN = ("AM-Q, H 20, sampled actions", "AM-Q, H 100, sampled actions", "AM-Q, H 300, sampled actions", "AM-Q, H 200, sampled actions")
RELEASED = ("AM-Q as released, H 20", "AM-Q as released, H 300", "AM-Q as released, H 200")
COLUMNS = ("data", "start", "best", "end", "budget of 0.05 nats", "AM-Q, H 20", "H 100", "longest H", "as released, longest H")


def name_of(result: dict[str, Any]) -> str:
    """The data set, or the floor."""
    return result["task"].rsplit("-", 1)[0] if "task" in result else f"twin, {Path(result['terrain']).stem}, seed {result['seed']}"


def stops_row(result: dict[str, Any]) -> list[str]:
    """Where each gate would have stopped the improvement, and what share of the best that is."""
    best, found = result["best_mean"], result["estimates"]
    values = [result["budgets"][BUDGET]["mean_score"]]
    values += [found[name]["mean_score"] for name in SHOWN if name in found]
    values += [found[name]["mean_score"] for name in RELEASED[1:] if name in found] or [float("nan")]
    shown = [f"{value:.1f} ({value / best:.0%})" if value == value else "–" for value in values]
    return [name_of(result), f"{result['start']:.1f}", f"{best:.1f}", f"{result['last']:.1f}", *shown]


def agreement(results: list[dict[str, Any]], names: tuple[str, ...]) -> list[str]:
    """How often an estimate tells the sign, over all pairs of policies; the longest horizon of those named."""
    pairs = told = within = 0.0
    for result in results:
        known = [result["estimates"][name] for name in names if name in result["estimates"]]
        if known and "pairs" in known[-1]:
            pairs += known[-1]["pairs"]
            told += known[-1]["pairs"] * known[-1]["told"]
            within += known[-1]["pairs"] * known[-1]["told_or_within_margin"]
    return [f"{pairs:.0f}", f"{told / pairs:.0%}", f"{within / pairs:.0%}"] if pairs else ["0", "–", "–"]


def table(rows: list[list[str]]) -> str:
    """Markdown; all columns but the first to the right."""
    head, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---", *["---:"] * (len(head) - 1)], *body])


def main() -> int:
    """Print both tables."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "results/gates")
    results = [json.loads(path.read_text())["result"] for path in sorted(folder.glob("*.json"))]
    print(table([list(COLUMNS), *(stops_row(result) for result in results)]), end="\n\n")
    kinds = {
        "AM-Q, H 20": SHOWN[:1], "AM-Q, H 100": SHOWN[1:2], "AM-Q, longest H": SHOWN[2:],
        "the model's reward, longest H": ("model return, H 300, sampled actions", "model return, H 200, sampled actions"),
        "AM-Q as released, H 20": RELEASED[:1], "AM-Q as released, longest H": RELEASED[1:],
    }  # fmt: skip
    groups = {"locomotion": [each for each in results if "task" in each], "twin": [each for each in results if "task" not in each]}
    rows = [["estimate", *(f"{group}: {what}" for group in groups for what in ("pairs", "told", "or within 20 %"))]]
    rows += [[kind, *(cell for group in groups.values() for cell in agreement(group, names))] for kind, names in kinds.items()]
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
