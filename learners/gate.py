"""May the new policy replace the old one? A paired decision from the estimates of both on the same rollouts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from common.checks import NOT_NEGATIVE, at_least, require


@dataclass(frozen=True)
class GateConfig:
    """The test that a candidate has to pass."""

    horizon: int = 20
    """H of AM-Q, control steps"""
    starts: int = 500
    """start states, drawn from the data once, that all queries of an improvement share"""
    confidence_z: float = 1.2816
    """how many standard errors the paired difference must lie above zero; 0 is the paper's rule, 1.2816 a one-sided 90 % test"""
    advantage_z: float | None = None
    """nothing is changed unless advantages agree with recorded returns by so many standard errors in episodes that their critics have not
    seen (learners/advantage_test.py); not set does not ask, which robot logs need (docs/gate.md)"""
    max_kl: float | None = 0.1
    """a candidate further than this from the starting policy is refused: KL in nats for each dimension of the action, averaged over the
    data's states; none is if not set"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "horizon")
        require(self, at_least(2), "starts")  # a standard error needs two
        require(self, NOT_NEGATIVE, "confidence_z", "advantage_z", "max_kl")


PAPER = GateConfig(confidence_z=0.0, max_kl=None)
"""Section 3.2: the difference alone decides. H = 20 is Table 5's for the robot."""


@dataclass(frozen=True)
class Decision:
    """One query of the gate about one ensemble member."""

    difference: float  # mean of J(pi) - J(pi_k) over start states
    standard_error: float
    kl: float  # from the starting policy, nats for each dimension of the action
    accepted: bool


def decide(candidate: Tensor, incumbent: Tensor, kl: float, config: GateConfig) -> Decision:
    """Compare paired estimates (B,) of both policies on the same start states and noise."""
    paired = candidate - incumbent
    difference = float(paired.mean())
    standard_error = float(paired.std() / len(paired) ** 0.5)
    better = difference > config.confidence_z * standard_error
    near = config.max_kl is None or kl <= config.max_kl
    finite = bool(torch.isfinite(paired).all())
    return Decision(difference, standard_error, kl, finite and better and near)
