"""The offline stage on robot logs in numbers, and its presets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from common.checks import OPEN_SHARE, at_least, require
from common.errors import ConfigError
from learners.dynamics import DynamicsConfig
from learners.extraction import CLONING, ExtractionConfig
from learners.fqe import LONG as LONG_FQE
from learners.fqe import FqeConfig
from learners.gate import GateConfig
from learners.importance import WisConfig
from learners.iql import IqlConfig
from learners.uni_o4 import PAPER, UniO4Config
from robot import go1


@dataclass(frozen=True)
class FinetuneConfig:
    """The offline stage on robot logs."""

    holdout_share: float = 0.2
    """share of the steps, by whole sessions, that only evaluation sees"""
    uni_o4: UniO4Config = field(default_factory=UniO4Config)
    """the learner"""
    fqe: FqeConfig = field(default_factory=FqeConfig)
    """an evaluation that shares nothing with the improvement"""
    wis: WisConfig = field(default_factory=WisConfig)
    """one from recorded rewards alone, a few steps ahead"""
    behavior: ExtractionConfig = CLONING
    """the clone that stands for whatever policies recorded the logs, in that one"""
    max_amq_starts: int = 1000
    """held-out start states for the final AM-Q"""

    def __post_init__(self) -> None:
        require(self, OPEN_SHARE, "holdout_share")  # the evidence needs some held-out data
        require(self.fqe, at_least(2), "members")  # an interval needs two replicas
        if self.uni_o4.action_limit != go1.ACTION_CLIP:  # critics and estimates would judge actions that the robot does not do
            raise ConfigError(
                f"uni_o4.action_limit is {self.uni_o4.action_limit:g}; the robot clips actions at {go1.ACTION_CLIP:g}: leave it"
            )
        if self.behavior.temperature != 0:
            raise ConfigError(f"behavior.temperature is {self.behavior.temperature:g}; it must be 0, which clones what recorded the logs")
        require(self, at_least(max(2, self.uni_o4.dynamics.elites)), "max_amq_starts")  # each elite imagines its share of them


PRESETS = {
    "smoke": FinetuneConfig(
        uni_o4=UniO4Config(
            members=2, improvement_steps=40, gate_period=20, batch_size=64,
            iql=IqlConfig(steps=100, batch_size=64, q_hidden=(32, 32), v_hidden=(32, 32)),
            dynamics=DynamicsConfig(steps=100, batch_size=64, members=2, elites=2, hidden=(32, 32)),
            gate=GateConfig(horizon=5, starts=64),
        ),
        fqe=FqeConfig(steps=50, batch_size=64, members=4, hidden=(32, 32)),
        behavior=replace(CLONING, steps=50, batch_size=64),
    ),
    "demo": FinetuneConfig(),
    "paper": FinetuneConfig(uni_o4=PAPER, fqe=LONG_FQE),
}  # fmt: skip
