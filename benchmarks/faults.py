"""How a robot reacts to every fault of `quadloop inject`, several times: median and worst reaction in ms. Prints JSON.

python benchmarks/faults.py [--trials N] [--policy FILE] [--terrain NAME] [--seed N] [FAULT ...]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from loop.faults import FAULTS
from loop.rehearsal import Outcome, Rehearsal


def figures(name: str, outcomes: list[Outcome]) -> dict[str, Any]:
    """Of the trials of one fault."""
    reactions = [outcome.reaction_ms for outcome in outcomes if outcome.reaction_ms is not None]
    return {
        f"{name}_ok": sum(outcome.ok for outcome in outcomes),
        f"{name}_median_ms": round(statistics.median(reactions), 1) if reactions else None,
        f"{name}_worst_ms": round(max(reactions), 1) if reactions else None,
        f"{name}_bound_ms": round(FAULTS[name].within_s * 1e3, 1),
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="*", default=list(FAULTS))
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--policy", type=Path)
    parser.add_argument("--terrain", default="flat")
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    began = time.monotonic()
    outcomes: dict[str, list[Outcome]] = {name: [] for name in wanted.faults}
    with tempfile.TemporaryDirectory() as logs, Rehearsal(wanted.policy, wanted.terrain, wanted.seed, Path(logs)) as rehearsal:
        for name in list(outcomes) * wanted.trials:
            outcomes[name].append(rehearsal.run(name))
            for wrong in outcomes[name][-1].wrong:
                print(f"{name}: {wrong}", file=sys.stderr)
    found = {key: value for name in outcomes for key, value in figures(name, outcomes[name]).items()}
    wrong = sum(not outcome.ok for trials in outcomes.values() for outcome in trials)
    print(json.dumps({"trials": wanted.trials, "wrong": wrong, "seconds": round(time.monotonic() - began, 1)} | found))


if __name__ == "__main__":
    main()
