"""The tables of docs/gate.md, put between its two marks from what `gates.py` and `twin_gates.py` left in results/gates, and D4RL's cells.

python benchmarks/gate_table.py [--results results/gates] [--cells results/d4rl/offline] [--page docs/gate.md]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from gate_study import AGAIN
from numpy.typing import NDArray

from d4rl_bench.markdown import NOTHING, markdown_table, put_between_marks
from d4rl_bench.task import find_task
from learners.gate import GateConfig

UNASKED = {"uni_o4.gate.advantage_z": None}
BUDGET_AS_RECORDED = 0.05  # read off hopper's and walker2d's first data, when the benchmark explored as recorded
SHORT, LONG, LONGEST = ("H 20",), ("H 100",), ("H 300", "H 200")
ESTIMATES = {
    "AM-Q, H 20": ("AM-Q, {}, sampled actions", SHORT),
    "AM-Q, H 100": ("AM-Q, {}, sampled actions", LONG),
    "AM-Q, H 300 or 200": ("AM-Q, {}, sampled actions", LONGEST),
    "by the mean action": ("AM-Q, {}, mean actions", LONGEST),
    "the model's reward": ("model return, {}, sampled actions", LONGEST),
    "AM-Q as released": ("AM-Q as released, {}", LONGEST),
    AGAIN: (AGAIN, ("",)),
}
"""Column -> the estimate's name and the horizons of which a study has one."""
MARGIN = 0.2
"""Of the return: a change within it may be told with either sign (the paper's Figure 6a)."""
ALWAYS = 'always "better"'
"""An estimate that knows nothing."""
GATES = ("AM-Q, H 20", "AM-Q, H 100", "AM-Q, H 300 or 200", "AM-Q as released")
"""Those that are shown as gates; of the others a study's file has the same."""


def name_of(result: dict[str, Any]) -> str:
    """The data set, or the floor. The first studies did not say which data a seed had made on their machine, nor narrowed exploration."""
    name = result["task"].rsplit("-", 1)[0] if "task" in result else f"twin, {Path(result['terrain']).stem}"
    other = f", data {result['data'][:4]}" if "data" in result else ""
    narrowed = f", narrowed to {result['exploration_std']}" if result.get("exploration_std") else ""
    return f"{name}, seed {result['seed']}{other}{narrowed}"


def budget_of(result: dict[str, Any]) -> str:
    """The default's; half of it on the benchmark where exploration was not narrowed."""
    return str(GateConfig().max_kl if "terrain" in result or result.get("exploration_std") else BUDGET_AS_RECORDED)


def found(result: dict[str, Any], column: str) -> dict[str, Any] | None:
    """What a study says of an estimate."""
    what: dict[str, Any] | None = of_column(column, result["estimates"])
    return what


def of_column(column: str, named: dict[str, Any]) -> Any:
    """What has the name of an estimate, with one of its horizons; None if nothing has."""
    name, horizons = ESTIMATES[column]
    return next((named[name.format(each)] for each in horizons if name.format(each) in named), None)


def by_the_paper(result: dict[str, Any]) -> float | None:
    """Where the paper's rule leaves the members, on average: each at the policy whose AM-Q is the highest, since any difference above 0
    is accepted and nothing ends it early. H is Table 5's on the robot, on locomotion the longest that a study has. None in the first
    studies, which kept no values."""
    horizon = "H 20" if "terrain" in result else "H 300"
    values = result.get("values", {}).get(f"AM-Q, {horizon}, sampled actions")
    if not values:
        return None
    accepted = [member.index(max(member)) for member in zip(*values, strict=True)]
    return fmean(result["scores"][step][index] for index, step in enumerate(accepted))


def stops(results: list[dict[str, Any]], cells: list[dict[str, Any]]) -> str:
    """Where each gate would have ended each improvement, and what the default gate left where it was asked."""
    rows = [["data", "start", "best", "ungated end", "default", "its members", "budget", "the paper's rule", *GATES]]
    for result in results:
        budget, *ends = [result["budgets"][budget_of(result)], *(found(result, column) for column in GATES)]
        cell = cell_of(result, cells)
        members = fmean(where_the_gate_ended(cell)[0]) if cell else None
        scores = [result.get("default", {}).get("score"), members, budget["mean_score"], by_the_paper(result)]
        scores += [end and end["mean_score"] for end in ends]
        shares = [NOTHING if score is None else f"{score:.1f} ({score / result['best_mean']:.0%})" for score in scores]
        rows.append([name_of(result), *(f"{result[key]:.1f}" for key in ("start", "best_mean", "last")), *shares])
    return markdown_table(rows[0], rows[1:])


def cell_of(result: dict[str, Any], cells: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The benchmark's cell that is the study's improvement with the default gate, if there is one."""
    score = result.get("default", {}).get("score")
    same = (cell for cell in cells if all(cell[key] == result.get(key) for key in ("task", "seed")) and not cell["overrides"])
    return next((cell for cell in same if "queries" in cell and round(cell["score"], 2) == score), None)


def where_the_gate_ended(cell: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Scores of a cell's members at the last that each accepted, and how far they are from what they began as."""
    scores, kl = list(cell["clones"]), [0.0] * len(cell["clones"])
    for query in cell["queries"]:
        if query["accepted"]:
            scores[query["member"]], kl[query["member"]] = query["score"], query["kl"]
    return scores, kl


def choices(results: list[dict[str, Any]], cells: list[dict[str, Any]]) -> str:
    """Where the gate ended the members beside the best step of the whole run, and whom to choose there: the nearest to its start, or
    whom AM-Q likes best."""
    rows = [["data", "the run's peak", "its distance", "members' mean", "nearest", "by AM-Q, H 20"]]
    gains = []
    for result in results:
        liked: float | None = None
        if cell := cell_of(result, cells):
            (scores, kl), liked = where_the_gate_ended(cell), cell["score"]
        else:
            last = list(enumerate(result["budgets"][budget_of(result)]["stops"]))
            scores, kl = ([result[key][stop][index] for index, stop in last] for key in ("scores", "kl"))
            if values := result.get("values"):
                estimates = [values["AM-Q, H 20, sampled actions"][stop][index] for index, stop in last]
                liked = scores[estimates.index(max(estimates))]
        nearest, mean = scores[kl.index(min(kl))], fmean(scores)
        peak, distance = max(zip(map(fmean, result["scores"]), map(fmean, result["kl"]), strict=True))
        chosen = [NOTHING if value is None else f"{value:.1f}" for value in (nearest, liked)]
        rows.append([name_of(result), f"{peak:.1f}", f"{distance:.2f}", f"{mean:.1f} ({mean / peak:.0%})", *chosen])
        gains.append((nearest - mean, None if liked is None else liked - mean))
    rows.append(["over the members' mean, all", "", "", "", f"{fmean(near for near, _ in gains):+.1f}", ""])
    both = [(near, liked) for near, liked in gains if liked is not None]
    if both:
        rows.append(["where both are known", "", "", "", *(f"{fmean(each):+.1f}" for each in zip(*both, strict=True))])
    return markdown_table(rows[0], rows[1:])


class Walk(NamedTuple):
    """The policies of an ungated improvement, at the start and after every period, of each member (K, M)."""

    worth: NDArray[np.float64]
    nothing: float  # what a return of 0 is worth: a margin is a share of the return
    within_budget: NDArray[np.bool_]
    values: dict[str, list[list[float]]]  # by each estimate


class Pairs(NamedTuple):
    """Which policies are compared: each with the one before it or with the one at the start, all or only those within the budget."""

    name: str
    from_start: bool
    within_budget: bool

    def change(self, worth: NDArray[np.float64]) -> NDArray[np.float64]:
        """(K - 1, M)."""
        return worth[1:] - self.before(worth)

    def before(self, worth: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each is compared with (1 or K - 1, M)."""
        return worth[:1] if self.from_start else worth[:-1]


class Sign(NamedTuple):
    """What an estimate says of a change: whether that is the true sign, whether the change is within the margin, whether it says worse."""

    told: bool
    near: bool
    called_worse: bool


def agreements(results: list[dict[str, Any]]) -> str:
    """How often each estimate tells the sign of a true change: from one policy to the next, and from the start to each."""
    kept = [result for result in results if "values" in result]
    locomotion = [result for result in kept if "task" in result]
    narrowed = [result for result in locomotion if result.get("exploration_std")]
    kinds = {
        "locomotion, narrowed": [walk_of(result) for result in narrowed],
        "locomotion, as recorded": [walk_of(result) for result in locomotion if result not in narrowed],
        "twin": [walk_of(result) for result in kept if "task" not in result],
    }
    discounted = {"locomotion, discounted return": [discounted_walk_of(result) for result in locomotion]}
    following = Pairs("from one policy to the next", from_start=False, within_budget=False)
    within = Pairs("from the start, within the budget", from_start=True, within_budget=True)
    since = Pairs("from the start", from_start=True, within_budget=False)
    tables = [sign_table(walks, pairs) for walks, pairs in ((kinds | discounted, following), (kinds, within), (kinds, since))]
    return "\n\n".join([*tables, warning_table(kinds, since)])


def walk_of(result: dict[str, Any]) -> Walk:
    """By score, on the twin by return."""
    nothing = find_task(result["task"]).score(0.0) if "task" in result else 0.0
    return Walk(np.array(result["scores"]), nothing, np.array(result["kl"]) <= float(budget_of(result)), result["values"])


def discounted_walk_of(result: dict[str, Any]) -> Walk:
    """By discounted return. What the same policies had in other episodes is known of later studies."""
    foreseen = result["discounted"]
    values = {name: values for name, values in result["values"].items() if name != AGAIN} | foreseen.get("values", {})
    return walk_of(result)._replace(worth=np.array(foreseen["scores"]), nothing=0.0, values=values)


def sign_table(kinds: dict[str, list[Walk]], pairs: Pairs) -> str:
    """A column for each kind of walk."""
    counts = [len(signs(walks, ALWAYS, pairs)) for walks in kinds.values()]
    header = [pairs.name, *(f"{kind}: {count}" for kind, count in zip(kinds, counts, strict=True))]
    return markdown_table(
        header, [[column, *(told(signs(walks, column, pairs)) for walks in kinds.values())] for column in (*ESTIMATES, ALWAYS)]
    )


def warning_table(kinds: dict[str, list[Walk]], pairs: Pairs) -> str:
    """How many of the policies that an estimate calls worse are so."""
    rows = [[column, *(warned(signs(walks, column, pairs)) for walks in kinds.values())] for column in ESTIMATES]
    all_of_them = [signs(walks, ALWAYS, pairs) for walks in kinds.values()]
    rows.append(["all policies", *(f"{sum(not sign.told for sign in found)} of {len(found)}" for found in all_of_them)])
    return markdown_table(["called worse than the start by", *kinds], rows)


def told(found: list[Sign]) -> str:
    """The share of the signs that are told, and in brackets, or that are of changes within the margin."""
    return f"{fmean(sign.told for sign in found):.0%} ({fmean(sign.told or sign.near for sign in found):.0%})" if found else NOTHING


def warned(found: list[Sign]) -> str:
    """Of the changes that are called losses, how many are."""
    losses = [sign.told for sign in found if sign.called_worse]
    return f"{sum(losses)} of {len(losses)}" if losses else NOTHING


def signs(walks: list[Walk], column: str, pairs: Pairs) -> list[Sign]:
    """What an estimate says of all pairs that differ."""
    found: list[Sign] = []
    for walk in walks:
        if (values := estimated(walk, column)) is None:
            continue
        change = pairs.change(walk.worth)
        called = pairs.change(values)
        right = np.sign(called) == np.sign(change)
        near = np.abs(change) <= MARGIN * np.abs(pairs.before(walk.worth) - walk.nothing)
        counted = (change != 0) & (walk.within_budget[1:] | (not pairs.within_budget))
        found += map(Sign, *(each[counted].tolist() for each in (right, near, called < 0)))
    return found


def estimated(walk: Walk, column: str) -> NDArray[np.float64] | None:
    """What an estimate says of the policies (K, M); None if it was not asked."""
    if column == ALWAYS:
        return np.broadcast_to(np.arange(float(len(walk.worth)))[:, None], walk.worth.shape)
    values = of_column(column, walk.values)
    return None if values is None else np.array(values)


def climbs(cells: list[dict[str, Any]]) -> str:
    """What the gate's first question said of each D4RL cell, and what the improvement makes of those that it refuses."""
    unasked = {(cell["task"], cell["seed"]): f"{cell['score']:.1f}" for cell in cells if cell["overrides"] == UNASKED}
    rows = [["data, seed", "correlation", "standard errors", "clones", "Uni-O4", "unasked"]]
    for cell in cells:
        if (test := cell.get("advantage_test")) and not cell["overrides"]:
            name = f"{cell['task'].rpartition('-')[0]}, {cell['seed']}"
            errors = NOTHING if test["z"] is None else f"{test['z']:.1f}"
            scores = [f"{fmean(cell['clones']):.1f}", f"{cell['score']:.1f}", unasked.get((cell["task"], cell["seed"]), NOTHING)]
            rows.append([name, f"{test['correlation']:.3f}", errors, *scores])
    return markdown_table(rows[0], rows[1:])


def main() -> int:
    """Write the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results/gates"))
    parser.add_argument("--cells", type=Path, default=Path("results/d4rl/offline"))
    parser.add_argument("--page", type=Path, default=Path("docs/gate.md"))
    wanted = parser.parse_args()
    results = [json.loads(path.read_text())["result"] for path in sorted(wanted.results.glob("*.json"))]
    cells = [cell for path in sorted(wanted.cells.glob("*.json")) for cell in json.loads(path.read_text())]
    tables = "\n\n".join([climbs(cells), stops(results, cells), choices(results, cells), agreements(results)])
    put_between_marks(wanted.page, tables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
