"""Answers the queries of one improvement, all on the same start states and noise.

So differences between policies are not of luck, what is accepted one after the other rises by one and the same measure, and AM-Q is asked
of each candidate once: what it is worth as an incumbent is known then.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from learners.gate import Decision, GateConfig, decide
from learners.policy import GaussianPolicy, distance, member, stack

Estimate = Callable[[GaussianPolicy], Tensor]
"""AM-Q of an ensemble (P,) from each of B start states, on luck that is the same in every call: (P, B)."""


class Gatekeeper:
    """Knows what the last accepted policy of each member is worth."""

    def __init__(self, estimate: Estimate, initial: GaussianPolicy, incumbents: GaussianPolicy, states: Tensor, config: GateConfig) -> None:
        """Ensembles of all members: what they began as, and what they have accepted since. Distances are averaged over `states` (N, O)."""
        self._estimate, self._initial, self._states, self._config = estimate, initial, states, config
        self._incumbents: GaussianPolicy | None = incumbents

    @property
    def values(self) -> Tensor:
        """AM-Q of the incumbents (P, B); asked when it is needed first."""
        if self._incumbents is not None:
            self._values, self._incumbents = self._estimate(self._incumbents), None
        return self._values

    @torch.no_grad()
    def distances(self, candidates: GaussianPolicy) -> Tensor:
        """Mean KL of each member of an ensemble (M,) from what it began as, nats for each dimension of the action."""
        return distance(candidates, self._initial, self._states)

    @torch.no_grad()
    def query(self, candidates: GaussianPolicy) -> list[Decision]:
        """About each member of an ensemble. One that is accepted is the incumbent from now on."""
        values, kl = self._estimate(candidates), self.distances(candidates)
        paired = zip(values, self.values, kl, strict=True)
        decisions = [decide(candidate, incumbent, float(far), self._config) for candidate, incumbent, far in paired]
        accepted = torch.tensor([decision.accepted for decision in decisions])
        self._values = torch.where(accepted[:, None], values, self.values)
        return decisions

    @torch.no_grad()
    def beside_start(self, candidate: GaussianPolicy) -> Decision:
        """About a single policy that comes of all members, where they began as one: beside what they began as."""
        start = member(self._initial, 0)
        value, value_of_start = self._estimate(stack([candidate, start]))
        return decide(value, value_of_start, float(distance(candidate, start, self._states)), self._config)
