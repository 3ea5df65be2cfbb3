"""What the gate's estimates were worth: every query of an offline run beside the true scores, which no decision knew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import StatisticsError, fmean
from typing import Any

from common.typed_values import WrongTypeError, as_type
from d4rl_bench.task import Task

MARGIN = 0.2
"""Of the incumbent's return: a change within it may be told with either sign (Figure 6a)."""

_KINDS = (int, "member"), (float, "score"), (float | None, "difference")


@dataclass(frozen=True)
class GateRecord:
    """Counts of queries, and true scores."""

    queries: int  # those in which the candidate's true score was another than the incumbent's
    agreed: int  # the estimate had the sign of the true change
    agreed_within: int  # or the true change was within MARGIN
    clones: float  # mean over members
    members: float  # mean over those that were improved, or over the clones if none was
    chosen: float
    best: float  # of all policies that were measured on the way


def gate_record(content: Mapping[str, Any], task: Task) -> GateRecord | None:
    """From a result's "clones", "queries" and "score"; None where a method has no gate. ValueError if they are damaged."""
    if "queries" not in content:
        return None
    try:
        current = list(as_type(tuple[float, ...], content["clones"]))
        clones, chosen, best = fmean(current), as_type(float, content["score"]), max(current)
        queries = agreed = within = 0
        improved: dict[int, float] = {}
        for query in content["queries"]:
            index, score, difference = (as_type(kind, query[name]) for kind, name in _KINDS)
            if not 0 <= index < len(current):
                raise IndexError(f"member {index} of {len(current)}")
            change = score - current[index]
            if change != 0:
                same = difference is not None and difference * change > 0  # a candidate that blew up has none, which is no sign
                queries, agreed = queries + 1, agreed + same
                incumbent_return = task.random_return + current[index] * task.point
                within += same or abs(change) * task.point <= MARGIN * abs(incumbent_return)
            best = max(best, score)
            if as_type(bool, query["accepted"]):
                current[index] = improved[index] = score
    except (WrongTypeError, KeyError, TypeError, IndexError, StatisticsError) as error:
        raise ValueError(f"its queries of the gate are damaged ({type(error).__name__}: {error})") from None
    return GateRecord(queries, agreed, within, clones, fmean(improved.values() or current), chosen, best)
