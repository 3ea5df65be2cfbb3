"""The whole loop in numbers, and its presets."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.checks import NOT_NEGATIVE, at_least, between, require, require_rising
from common.errors import ConfigError
from offline_finetune.config import PRESETS as FINETUNE_PRESETS
from offline_finetune.config import FinetuneConfig
from online_finetune.online import COMMANDED_SPEED, OnlineConfig
from online_finetune.online import PRESETS as ONLINE_PRESETS
from robot.log.episode_fields import MAX_STEPS
from sim_pretrain.config import PRESETS as PRETRAIN_PRESETS
from sim_pretrain.config import PretrainConfig
from twin.evaluate import MAX_SPEED


@dataclass(frozen=True)
class CollectConfig:
    """Episodes of the pretrained policy on the floor that it was not trained for."""

    steps: int = 100_000
    """control steps in all"""
    episode_steps: int = 1000
    """longest episode, control steps"""
    sessions: int = 30
    """sittings that the episodes are spread over; whole sessions are held out for evaluation"""
    vx_low: float = 0.0
    """slowest commanded speed, m/s"""
    vx_high: float = 1.3
    """fastest commanded speed, m/s"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "steps")
        require(self, between(1, MAX_STEPS), "episode_steps")
        require(self, at_least(2), "sessions")
        require(self, COMMANDED_SPEED, "vx_low", "vx_high")
        require_rising(self, "vx_low", "vx_high")


@dataclass(frozen=True)
class MeasureConfig:
    """How every stage's policy is measured."""

    commands: tuple[float, ...] = (0.8, 1.5)
    """forward speeds, m/s"""
    trials: int = 50
    """robots a command"""
    steps: int = 1000
    """control steps of a trial"""
    seed: int = 12345
    """draws how the robots start; the same for every stage and run"""
    video_steps: int = 400
    """control steps of a video; 0 makes none"""

    def __post_init__(self) -> None:
        require(self, between(-MAX_SPEED, MAX_SPEED, "m/s"), "commands")
        require(self, at_least(1), "trials", "steps")
        require(self, NOT_NEGATIVE, "seed", "video_steps")


@dataclass(frozen=True)
class LoopConfig:
    """Pretraining, collection, offline fine-tuning, online fine-tuning, and the measurement of each."""

    terrain: str = "mattress"
    """where the robot is to walk: flat, mattress, or a YAML file"""
    pretrain: PretrainConfig = field(default_factory=lambda: PRETRAIN_PRESETS["demo"])
    """simulator pretraining on flat ground"""
    collect: CollectConfig = field(default_factory=CollectConfig)
    """data for the offline stage"""
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    """offline stage"""
    online: OnlineConfig = field(default_factory=OnlineConfig)
    """online stage"""
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    """the table"""

    def __post_init__(self) -> None:
        offline, online = self.finetune.uni_o4.iql.gamma, self.online.ppo.gamma
        if offline != online:
            names = f"finetune.uni_o4.iql.gamma is {offline} and online.ppo.gamma is {online}"
            raise ConfigError(f"{names}; V goes from one to the other, so they must be equal")


PRESETS = {
    "smoke": LoopConfig(
        pretrain=PRETRAIN_PRESETS["smoke"],
        collect=CollectConfig(steps=1200, episode_steps=200, sessions=3),
        finetune=FINETUNE_PRESETS["smoke"],
        online=ONLINE_PRESETS["smoke"],
        measure=MeasureConfig(trials=4, steps=100, video_steps=20),
    ),
    "demo": LoopConfig(),
    "paper": LoopConfig(
        pretrain=PRETRAIN_PRESETS["paper"],
        collect=CollectConfig(steps=180_000, sessions=20),
        finetune=FINETUNE_PRESETS["paper"],
        online=ONLINE_PRESETS["paper"],
        measure=MeasureConfig(trials=100),
    ),
}
