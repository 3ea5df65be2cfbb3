"""The improvement under way: two ensembles, what the gate said so far, and the file that an interrupted run goes on from."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import torch

from common.typed_values import as_type
from learners.advantage_test import AdvantageTest
from learners.checkpoint import blaming, load_checkpoint, refuse_infinite, save_checkpoint
from learners.gate import Decision
from learners.policy import GaussianPolicy, member


@dataclass(frozen=True)
class Query:
    """What the gate said about one member at one improvement step."""

    step: int
    member: int
    decision: Decision


@dataclass(frozen=True)
class Improvement:
    """The outcome: a policy that the gate has accepted, or the start if there is none, and how it came about."""

    policy: GaussianPolicy
    chosen_member: int | None  # none is the average of all that were improved, or the one policy that all began as
    accepted_steps: int  # improvement steps behind the chosen policy, at most; 0 if nothing was ever accepted
    queries: list[Query]
    watched: list[list[float]]  # what the watch returned, step after step
    advantage_test: AdvantageTest | None = None  # without which nothing is improved; None if it was not asked for
    average: Decision | None = None  # what the gate said of the improved members' average; None if there was none


Watch = Callable[[int, GaussianPolicy, GaussianPolicy], list[float]]
"""Called as watch(step, target, behavior) at every query, before anything is replaced; for measurements, which are kept."""


def nobody(_step: int, _target: GaussianPolicy, _behavior: GaussianPolicy) -> list[float]:
    """A watch that measures nothing."""
    return []


class Improving:
    """`target` is what is learnt, `behavior` the last accepted policy of each member, which the actions are drawn from."""

    def __init__(self, start: GaussianPolicy, learning_rate: float) -> None:
        self.target, self.behavior = start, copy.deepcopy(start)
        self.optimizer = torch.optim.Adam(self.target.parameters(), lr=learning_rate, fused=True)
        self.step = 0
        self.idle = 0  # queries in a row without any acceptance
        self.accepted = [0] * start.members[0]  # improvement steps behind each behavior policy
        self.queries: list[Query] = []
        self.watched: list[list[float]] = []

    def settle(self, decisions: Sequence[Decision], roll_back: bool = False) -> int:
        """Let each accepted member's policy replace its behavior policy; returns how many were accepted.

        With `roll_back` a refused one becomes its behavior policy again; the optimiser keeps its momentum.
        """
        for index, decision in enumerate(decisions):
            self.queries.append(Query(self.step, index, decision))
            if decision.accepted:
                _copy_member(self.target, self.behavior, index)
                self.accepted[index] = self.step
            elif roll_back:
                _copy_member(self.behavior, self.target, index)
        accepted = sum(decision.accepted for decision in decisions)
        self.idle = 0 if accepted else self.idle + 1
        return accepted

    def outcome(self, chosen: int, advantage_test: AdvantageTest | None = None, average: Decision | None = None) -> Improvement:
        """With the behavior policy of the member that was chosen."""
        policy, steps = member(self.behavior, chosen), self.accepted[chosen]
        return Improvement(policy, chosen, steps, self.queries, self.watched, advantage_test, average)

    def save(self, path: Path, generator: torch.Generator) -> None:
        """Keep all, and the generator."""
        queries = [{"step": query.step, "member": query.member} | asdict(query.decision) for query in self.queries]
        learnt = {name: getattr(self, name).state_dict() for name in _LEARNT}
        counted = {name: getattr(self, name) for name in _COUNTED}
        save_checkpoint(path, learnt | counted | {"queries": queries, "generator": generator.get_state()})

    def restore(self, path: Path, generator: torch.Generator) -> None:
        """Go on from what `save` kept; CheckpointError if it does not fit."""
        members = len(self.accepted)
        with blaming(path):
            content = load_checkpoint(path)
            for name in _LEARNT:
                getattr(self, name).load_state_dict(content[name])
            for name, kind in _COUNTED.items():
                setattr(self, name, as_type(kind, content[name]))
            self.accepted, self.watched = list(self.accepted), [list(values) for values in self.watched]
            self.queries = [_query_of(kept) for kept in content["queries"]]
            generator.set_state(content["generator"])
            if (len(self.accepted), len(self.queries)) != (members, members * len(self.watched)):
                raise ValueError(f"it holds {len(self.queries)} queries of {len(self.accepted)} members")
            if not all(0 <= steps <= self.step for steps in (0, *self.accepted)):
                raise ValueError(f"it is of step {self.step:,}, and {self.accepted} were accepted")
            refuse_infinite(self.target, self.behavior)


def _query_of(kept: dict[str, Any]) -> Query:
    query = Query(as_type(int, kept.pop("step")), as_type(int, kept.pop("member")), Decision(**kept))
    if [type(value) for value in astuple(query.decision)] != [float, float, float, bool]:
        raise ValueError("it holds a decision that is none")
    return query


_LEARNT = ("target", "behavior", "optimizer")
_COUNTED: dict[str, Any] = {"step": int, "idle": int, "accepted": tuple[int, ...], "watched": tuple[tuple[float, ...], ...]}


@torch.no_grad()
def _copy_member(source: GaussianPolicy, target: GaussianPolicy, index: int) -> None:
    for to, of in zip(target.parameters(), source.parameters(), strict=True):
        to[index] = of[index]
