"""A config's own rules, and those that each of our configs keeps."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from common.checks import NOT_NEGATIVE, OPEN_SHARE, POSITIVE, SHARE, Rule, at_least, require, require_rising
from common.config import load_config
from common.errors import ConfigError
from learners.dynamics import DynamicsConfig
from learners.extraction import ExtractionConfig
from learners.fqe import FqeConfig
from learners.gate import GateConfig
from learners.iql import IqlConfig
from learners.ppo import PpoConfig
from learners.uni_o4 import UniO4Config
from loop.config import CollectConfig, LoopConfig, MeasureConfig
from offline_finetune.config import FinetuneConfig
from online_finetune.online import OnlineConfig
from sim_pretrain.commands import CommandConfig
from sim_pretrain.config import PretrainConfig
from sim_pretrain.environment import EnvironmentConfig
from sim_pretrain.reward import PenaltyWeights


@dataclass(frozen=True)
class Given:
    it: Any


@pytest.mark.parametrize(
    ("rule", "kept", "broken"),
    [
        (POSITIVE, 1e-9, 0.0),
        (NOT_NEGATIVE, 0, -1),
        (SHARE, 1.0, 1.001),
        (SHARE, 0.0, -0.001),
        (OPEN_SHARE, 0.5, 1.0),
        (at_least(2), 2, 1),
        (at_least(1), (8, 1), (8, 0)),
        (POSITIVE, None, math.nan),
        (at_least(1), (1,), (0,)),
    ],
)
def test_a_rule(rule: Rule, kept: Any, broken: Any) -> None:
    require(Given(kept), rule, "it")
    with pytest.raises(ConfigError, match=r"it is .*; it must be "):
        require(Given(broken), rule, "it")


def test_a_tuple_without_a_number_keeps_no_rule() -> None:
    with pytest.raises(ConfigError, match="it has no value; it must be at least 1"):
        require(Given(()), at_least(1), "it")


def test_numbers_that_rise() -> None:
    require_rising(Given((1, 1, 2)), "it")
    with pytest.raises(ConfigError, match=r"it is \(2, 1\); give the smaller number first"):
        require_rising(Given((2, 1)), "it")
    with pytest.raises(ConfigError):
        require_rising(Given((0.0, math.nan)), "it")


REFUSED = [
    (EnvironmentConfig, {"num_robots": 0}, "num_robots is 0; it must be from 1 to 1,000,000"),
    (EnvironmentConfig, {"command_s": 0.001}, "command_s is 0.001; it must be from 0.02 to 600 s"),
    (EnvironmentConfig, {"episode_s": 1e20}, "episode_s is 1e+20; it must be from 0.02 to 600 s"),
    (CollectConfig, {"episode_steps": 200_001}, "episode_steps is 200001; it must be from 1 to 200,000"),
    (CommandConfig, {"vx": (1.0, -1.0)}, "vx is (1.0, -1.0); give the smaller number first"),
    (CommandConfig, {"standing_share": 1.5}, "standing_share is 1.5; it must be from 0 to 1"),
    (PretrainConfig, {"steps": 0}, "steps is 0; it must be at least 1"),
    (PretrainConfig, {"rollout": 0}, "rollout is 0; it must be at least 1"),
    (PretrainConfig, {"hidden": (32, 0)}, "hidden is (32, 0); it must be at least 1"),
    (PretrainConfig, {"initial_std": 0.0}, "initial_std is 0.0; it must be above 0"),
    (PpoConfig, {"epochs": 0}, "epochs is 0; it must be at least 1"),
    (PpoConfig, {"minibatches": -1}, "minibatches is -1; it must be at least 1"),
    (PpoConfig, {"clip_ratio": 0.0}, "clip_ratio is 0.0; it must be above 0"),
    (PpoConfig, {"gamma": 1.1}, "gamma is 1.1; it must be from 0 to 1"),
    (PpoConfig, {"max_kl": -0.1}, "max_kl is -0.1; it must be above 0"),
    (IqlConfig, {"expectile": 1.0}, "expectile is 1.0; it must be above 0 and below 1"),
    (IqlConfig, {"n_step": 0}, "n_step is 0; it must be at least 1"),
    (IqlConfig, {"polyak": 0.0}, "polyak is 0.0; it must be above 0"),
    (IqlConfig, {"batch_size": 0}, "batch_size is 0; it must be at least 1"),
    (DynamicsConfig, {"elites": 0}, "elites is 0; it must be at least 1"),
    (
        DynamicsConfig,
        {"members": 2, "elites": 3},
        "elites is 3, members is 2; each must be at least the one before it",
    ),
    (GateConfig, {"starts": 1}, "starts is 1; it must be at least 2"),
    (GateConfig, {"horizon": 0}, "horizon is 0; it must be at least 1"),
    (FqeConfig, {"batch_size": 0}, "batch_size is 0; it must be at least 1"),
    (FqeConfig, {"gamma": 1.0}, "gamma is 1.0; it must be from 0 to below 1"),
    (FqeConfig, {"polyak": 0.0}, "polyak is 0.0; it must be above 0"),
    (FinetuneConfig, {"max_amq_starts": 1}, "max_amq_starts is 1; it must be at least 2"),
    (
        FinetuneConfig,
        {"max_amq_starts": 4, "uni_o4": UniO4Config(dynamics=DynamicsConfig(members=7, elites=5))},
        "max_amq_starts is 4; it must be at least 5",
    ),
    (FinetuneConfig, {"behavior": ExtractionConfig()}, "behavior.temperature is 3; it must be 0, which clones what recorded the logs"),
    (PenaltyWeights, {"bias": -0.1}, "bias is -0.1; it must be 0 or more"),
    (OnlineConfig, {"steps_per_update": 0}, "steps_per_update is 0; it must be at least 1"),
    (OnlineConfig, {"episode_steps": 0}, "episode_steps is 0; it must be from 1 to 200,000"),
    (OnlineConfig, {"exploration_std": -0.1}, "exploration_std is -0.1; it must be above 0"),
    (
        OnlineConfig,
        {"vx_start": 2.0},
        "vx_low is 0.4, vx_start is 2.0, vx_high is 1.6; each must be at least the one before it",
    ),
    (OnlineConfig, {"vx_high": 50.0}, "vx_high is 50.0; it must be from -2 to 2 m/s"),
    (CollectConfig, {"vx_high": 50.0}, "vx_high is 50.0; it must be from -2 to 2 m/s"),
    (CollectConfig, {"vx_low": -50.0}, "vx_low is -50.0; it must be from -2 to 2 m/s"),
    (CollectConfig, {"sessions": 1}, "sessions is 1; it must be at least 2"),
    (CollectConfig, {"steps": 0}, "steps is 0; it must be at least 1"),
    (MeasureConfig, {"trials": 0}, "trials is 0; it must be at least 1"),
    (MeasureConfig, {"steps": 0}, "steps is 0; it must be at least 1"),
    (MeasureConfig, {"video_steps": -1}, "video_steps is -1; it must be 0 or more"),
    (MeasureConfig, {"commands": (0.8, 50.0)}, "commands is (0.8, 50.0); it must be from -5 to 5 m/s"),
    (MeasureConfig, {"commands": ()}, "commands has no value; it must be from -5 to 5 m/s"),
    (
        LoopConfig,
        {"online": OnlineConfig(ppo=PpoConfig(gamma=0.97))},
        "finetune.uni_o4.iql.gamma is 0.99 and online.ppo.gamma is 0.97; V goes from one to the other, so they must be equal",
    ),
]


@pytest.mark.parametrize(("kind", "changes", "message"), REFUSED)
def test_a_config_that_cannot_be_run_is_one_line(kind: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        kind(**changes)
    assert str(caught.value) == message


def test_a_file_is_told_the_whole_name(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text("online: {ppo: {epochs: 0}}\n")
    with pytest.raises(ConfigError, match=r"e\.yaml: online\.ppo\.epochs is 0; it must be at least 1"):
        load_config(LoopConfig(), path)
