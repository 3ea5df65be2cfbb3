"""Pretraining in numbers, and its presets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from common.checks import POSITIVE, at_least, require, require_rising
from common.errors import ConfigError
from learners.ppo import PpoConfig
from sim_pretrain.commands import CommandConfig
from sim_pretrain.environment import EnvironmentConfig
from sim_pretrain.report import MeasureConfig
from sim_pretrain.reward import PenaltyWeights
from sim_pretrain.worker_environment import NO_PYTHON, WorkerConfig


@dataclass(frozen=True)
class PretrainConfig:
    """Simulator pretraining on flat ground without randomisation, as in the paper. Defaults suit two cores and a quarter of an hour."""

    steps: int = 7_000_000
    """control steps in all, over all robots"""
    rollout: int = 16
    """control steps of each robot between two updates"""
    hidden: tuple[int, ...] = (512, 256, 128)
    """hidden layers of the actor"""
    value_hidden: tuple[int, ...] = (256, 128)
    """hidden layers of the value, which sees the newest frame and what a robot cannot measure"""
    initial_std: float = 0.8
    """most exploration at the start; falls in a straight line to final_std"""
    final_std: float = 0.1
    """most exploration at the end: a policy that learnt with much noise walks too fast without it"""
    deployed_std: float = 0.45
    """how much the exported policy explores: about what the released logs were collected with"""
    averaged_updates: int = 30
    """the exported policy is the running mean of the acting ones over about this many updates"""
    checkpoint_every: int = 20
    """updates between two checkpoints"""
    ppo: PpoConfig = field(
        default_factory=lambda: PpoConfig(
            clip_ratio=0.2,
            gamma=0.98,
            epochs=1,
            minibatches=16,
            pass_share=0.75,
            policy_lr=5e-4,
            desired_kl=0.02,
            value_lr=1e-3,
            entropy_weight=0.001,
            precision="auto",
        )
    )
    """the learner"""
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    """the task, in MuJoCo; isaacgym's tasks bring their own and take num_robots alone"""
    backend: Literal["mujoco", "isaacgym"] = "mujoco"
    """the simulator"""
    isaacgym: WorkerConfig = field(default_factory=WorkerConfig)
    """the process that isaacgym lives in"""

    def __post_init__(self) -> None:
        if self.backend == "isaacgym" and self.isaacgym.python is None:
            raise ConfigError(NO_PYTHON)
        if self.backend != "isaacgym" and self.isaacgym != WorkerConfig():
            raise ConfigError(
                f"isaacgym has settings, but backend is {self.backend}, which has no use for them; choose the backend isaacgym"
            )
        require(self, at_least(1), "steps", "rollout", "hidden", "value_hidden", "averaged_updates", "checkpoint_every")
        require(self, POSITIVE, "initial_std", "final_std", "deployed_std")
        require_rising(self, "final_std", "initial_std")


# Fewer steps, and more made of each: four passes take three times as long as one, and walk more sturdily for it, on floors too that
# they have never seen. So does much exploration to the end, at the cost of some accuracy on flat ground.
DEMO = PretrainConfig(
    steps=2_500_000,
    rollout=24,
    initial_std=1.0,
    final_std=0.6,
    ppo=PpoConfig(
        clip_ratio=0.2, gamma=0.99, epochs=4, minibatches=4, policy_lr=1e-3, desired_kl=0.01, value_lr=1e-3, entropy_weight=0.002,
        precision="auto",
    ),
    environment=EnvironmentConfig(
        num_robots=512,
        commands=CommandConfig(vx=(-0.6, 1.6), vy=(-0.4, 0.4), yaw_rate=(-0.8, 0.8), plain_share=0.9),
        penalties=PenaltyWeights(
            joint_torque=1e-4, action_rate=0.02, bias=0.5, orientation=2.0, height=10.0, swing_contact=0.5, stance_lift=0.5, placement=4.0
        ),
    ),
)  # fmt: skip

PRESETS = {
    "smoke": PretrainConfig(steps=12_288, environment=EnvironmentConfig(num_robots=128)),
    "demo": DEMO,
    "paper": PretrainConfig(),
}


@dataclass(frozen=True)
class MeasuredConfig(PretrainConfig):
    """Pretraining that ends with a measurement and a report; the loop measures all its policies by itself."""

    measure: MeasureConfig = field(default_factory=MeasureConfig)
    """how the policy is measured at the end"""


MEASURED_PRESETS = {name: MeasuredConfig(**vars(preset)) for name, preset in PRESETS.items()}
MEASURED_PRESETS["smoke"] = replace(MEASURED_PRESETS["smoke"], measure=MeasureConfig(trials=4, steps=100, video_steps=20))
