"""Answers the queries of one improvement, all on the same start states and noise.

So differences between policies are not of luck, what is accepted one after the other rises by one and the same measure, and AM-Q is asked
of each policy once: what an incumbent is worth is known from when it was a candidate.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from learners.gate import Decision, GateConfig, decide
from learners.policy import GaussianPolicy, distance

Estimate = Callable[[GaussianPolicy], Tensor]
"""AM-Q of an ensemble (P,) from each of B start states, on luck that is the same in every call: (P, B)."""


class Gatekeeper:
    """Knows the last accepted policy of each member."""

    def __init__(self, estimate: Estimate, initial: GaussianPolicy, incumbents: GaussianPolicy, states: Tensor, config: GateConfig) -> None:
        """Both ensembles have the members that will be asked about; distances from `initial` are averaged over `states` (N, O)."""
        self._estimate, self._initial, self._states, self._config = estimate, initial, states, config
        self.values = estimate(incumbents)
        """(P, B) of the incumbents"""

    @torch.no_grad()
    def query(self, candidates: GaussianPolicy) -> list[Decision]:
        """About each member of an ensemble. One that is accepted is the incumbent from now on."""
        values, kl = self._estimate(candidates), distance(candidates, self._initial, self._states)
        paired = zip(values, self.values, kl, strict=True)
        decisions = [decide(candidate, incumbent, float(far), self._config) for candidate, incumbent, far in paired]
        accepted = torch.tensor([decision.accepted for decision in decisions])
        self.values = torch.where(accepted[:, None], values, self.values)
        return decisions
