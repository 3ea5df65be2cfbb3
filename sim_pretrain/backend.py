"""Which simulator the robots learn in."""

from __future__ import annotations

from pathlib import Path

from sim_pretrain.config import PretrainConfig
from sim_pretrain.environment import WalkingEnvironment
from sim_pretrain.training_environment import TrainingEnvironment
from sim_pretrain.worker_environment import WorkerEnvironment
from twin.world import FLAT


def make_environment(config: PretrainConfig, seed: int, out: Path) -> TrainingEnvironment:
    """The robots that `config` asks for, on flat ground; what goes wrong with them is kept under `out`."""
    if config.backend == "isaacgym":
        return WorkerEnvironment(config.isaacgym, config.environment.num_robots, seed, out / "worker.log")
    return WalkingEnvironment(FLAT, config.environment, seed, out / "diverged")
