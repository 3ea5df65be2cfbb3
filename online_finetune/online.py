"""Online fine-tuning: collect with the present policy, improve it by PPO, act with the new one.

Between two updates nobody turns the control cycle: the twin waits, a robot would be damped by its own failsafe.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import torch

from common.checks import NOT_NEGATIVE, POSITIVE, at_least, between, require, require_rising
from common.errors import QuadloopError
from common.randomness import generator_for
from common.typed_values import as_type
from learners.checkpoint import blaming, load_checkpoint, refuse_infinite, save_checkpoint
from learners.onnx_graph import export_policy, policy_of_graph
from learners.ppo import FEW_STEPS, Ppo, PpoConfig
from learners.progress import Progress
from learners.value import Value
from online_finetune.batch import on_policy_batch
from robot import go1
from robot.forward_commands import ForwardCommands
from robot.log.episode import is_simulated
from robot.log.episode_fields import MAX_STEPS
from robot.log.episode_log import read_episode
from robot.policy.artifact import PolicyArtifact, keep_or_write_artifact, load_artifact
from robot.run_episode import EpisodeSummary
from robot.station import Collector, Station
from robot.stick import FASTEST

COMMANDED_SPEED = between(-FASTEST.vx, FASTEST.vx, "m/s")
"""What a robot may be told: no policy walks faster, and one that is asked to falls until nothing can be learnt."""


@dataclass(frozen=True)
class OnlineConfig:
    """Online fine-tuning. Clip ratio, lambda and gamma are the paper's for the robot (Table 5), as are the steps (A.4.3, A.5.2); the
    learning rate is faster."""

    steps: int = 100_000
    """control steps in all"""
    steps_per_update: int = 2048
    """control steps between two updates"""
    episode_steps: int = 1000
    """longest episode, control steps"""
    exploration_std: float = 0.3
    """the policy's standard deviations start at most here; PPO changes them from there"""
    vx_low: float = 0.4
    """slowest commanded speed, m/s"""
    vx_start: float = 0.9
    """fastest commanded speed at first, m/s"""
    vx_high: float = 1.6
    """fastest commanded speed in the end, m/s"""
    vx_step: float = 0.03
    """the fastest commanded speed grows by this after an update without a fall; two falls or more make it shrink, down to vx_start; m/s"""
    ppo: PpoConfig = FEW_STEPS
    """the learner"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "steps", "steps_per_update")
        require(self, between(1, MAX_STEPS), "episode_steps")
        require(self, POSITIVE, "exploration_std")
        require(self, NOT_NEGATIVE, "vx_step")
        require(self, COMMANDED_SPEED, "vx_low", "vx_high")
        require_rising(self, "vx_low", "vx_start", "vx_high")


PRESETS = {
    "smoke": OnlineConfig(steps=600, steps_per_update=300, episode_steps=150),
    "demo": OnlineConfig(),
    "paper": OnlineConfig(ppo=PpoConfig(clip_ratio=0.1, epochs=10, minibatches=16, policy_lr=3e-5, value_lr=3e-5)),
}

MAX_WEIGHTS = 20_000_000
"""Of a value function: a hundred times ours."""


class OnlineFinetuner:
    """The loop of collecting and learning. `checkpoint.pt` in `out` lets a stopped run go on at its last update."""

    def __init__(self, station: Station, policy_path: Path, value_path: Path, out: Path, config: OnlineConfig, seed: int) -> None:
        self.config, self.out = config, out
        self.parent = load_artifact(policy_path)
        self.policy = policy_of_graph(policy_path.read_bytes())
        self.policy.narrow(config.exploration_std)
        self.value, self.reward_scale = load_value(value_path, self.parent.metadata.layout.size, config.ppo.gamma)
        self.ppo = Ppo(self.policy, self.value, config.ppo)
        self.generator = torch.Generator().manual_seed(seed)
        self.steps, self.updates, self.falls = 0, 0, 0
        self.vx_high = config.vx_start
        self._resume()
        # Commands and actions, keyed by seed and updates: resumed at an update again a run draws the same, and never what it began with.
        self.rng = generator_for("online", seed, self.updates)
        self.artifact = self._export()
        session = f"{out.resolve().name}-{self.parent.sha256[:8]}"  # "." has no name, and the folders of many runs have the same
        self.collector = Collector(station, self.artifact, self.rng, session, asdict(config))

    def run(self, report: Progress) -> PolicyArtifact:
        """Until `config.steps` control steps are made; returns the last policy's artifact."""
        while self.steps < self.config.steps:
            figures = self.iterate()
            # Before it is saved: a run that is killed in between does this update again, and its row is written anew.
            report("online", min(self.steps, self.config.steps), self.config.steps, figures)
            self.save()
        return self.artifact

    def iterate(self) -> dict[str, float]:
        """Collect, learn, export; returns named figures. DivergedError, with nothing but logs written, if learning blew up."""
        directory = self.out / "episodes" / f"update_{self.updates:04d}"
        summaries = self._collect(directory)
        episodes = [read_episode(path) for path in sorted(directory.glob("*.hdf5"))]
        batch = on_policy_batch(
            episodes, self.artifact.sha256, self.policy, self.value, self.reward_scale, self.config.ppo.gamma, self.config.ppo.gae_lambda
        )
        if len(batch.actions) == 0:
            raise QuadloopError(f"no step in {directory} has a measured velocity; see to the velocity source, then --resume")
        figures = self.ppo.update(batch, self.generator)
        self.ppo.refuse_divergence("online", self.steps, figures)
        self._account(summaries)
        self.artifact = self._export()
        self.collector.use(self.artifact)
        steps = sum(summary.steps for summary in summaries)
        return figures | {
            "reward": sum(summary.episode_return for summary in summaries) / steps,
            "speed": sum(summary.distance_m for summary in summaries) / (steps * go1.CONTROL_DT),
            "falls": float(self.falls),
            "fastest_command": self.vx_high,
            "std": float(torch.exp(self.policy.log_std.detach()).mean()),
        }

    def _collect(self, directory: Path) -> list[EpisodeSummary]:
        self._put_aside(directory)
        config, commands = self.config, ForwardCommands(self.config.vx_low, self.vx_high)
        return list(self.collector.collect_steps(directory, config.steps_per_update, config.episode_steps, commands, self.rng))

    def _put_aside(self, directory: Path) -> None:
        """What an interrupted update left there, which this update does not learn from: the logs of a robot, which may tell what happened
        to it, are kept in a folder beside it. The twin does the same once more, and two logs of it would be taken for a mistake."""
        if not directory.is_dir():
            return
        if is_simulated(self.collector.station.source):
            for leftover in directory.glob("*.hdf5*"):
                leftover.unlink()
        else:
            beside = (directory.with_name(f"{directory.name}_interrupted_{number}") for number in count())
            directory.rename(next(path for path in beside if not path.exists()))

    def _account(self, summaries: list[EpisodeSummary]) -> None:
        falls = sum(summary.fell for summary in summaries)  # of the policy: only these make it slower
        self.updates += 1
        self.steps += sum(summary.steps for summary in summaries)
        self.falls += falls + sum(summary.falls_standing for summary in summaries)
        if falls == 0:
            self.vx_high = min(self.config.vx_high, self.vx_high + self.config.vx_step)
        elif falls >= 2:
            self.vx_high = max(self.config.vx_start, self.vx_high - self.config.vx_step)

    def _export(self) -> PolicyArtifact:
        parent = self.parent
        return keep_or_write_artifact(self.out / "policy.onnx", export_policy(self.policy), "online", parent.sha256, parent.metadata.layout)

    def save(self) -> None:
        """Keep what a run that was stopped goes on from."""
        save_checkpoint(
            self.out / "checkpoint.pt",
            self.ppo.state_dict()
            | {"counters": {"steps": self.steps, "updates": self.updates, "falls": self.falls}, "vx_high": self.vx_high}
            | {"generator": self.generator.get_state()},
        )

    def _resume(self) -> None:
        path = self.out / "checkpoint.pt"
        if not path.exists():
            return
        config = self.config
        with blaming(path):
            state = load_checkpoint(path)
            self.ppo.load_state_dict(state)
            self.generator.set_state(state["generator"])
            self.steps, self.updates, self.falls = (as_type(int, state["counters"][name]) for name in ("steps", "updates", "falls"))
            self.vx_high = as_type(float, state["vx_high"])
            if not config.vx_start <= self.vx_high <= config.vx_high:
                raise ValueError(f"vx_high is {self.vx_high}, not from {config.vx_start} to {config.vx_high}")
            if min(self.steps, self.updates, self.falls) < 0:
                raise ValueError("counters below 0")
            refuse_infinite(self.policy, self.value)


def load_value(path: Path, observation_size: int, gamma: float) -> tuple[Value, float]:
    """V of the offline stage, for observations of that size and this discount, and the scale (above 0) of the rewards it was fitted to.

    CheckpointError if the file cannot be read, QuadloopError if it holds anything else.
    """
    content: dict[str, Any] = load_checkpoint(path)
    try:
        value, reward_scale = _value_of(content["sizes"], content["value"]), float(content["reward_scale"])
        learnt_gamma = float(content["gamma"]) if "gamma" in content else None
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError, OverflowError) as error:
        raise QuadloopError(f"{path} holds no value function of the offline stage; run quadloop finetune first") from error
    if content["sizes"][0] != observation_size:
        raise QuadloopError(
            f"{path} is for observations of {content['sizes'][0]} values, the policy's have {observation_size}; take both from one run"
        )
    if not (math.isfinite(reward_scale) and reward_scale > 0):
        raise QuadloopError(f"{path}: reward_scale is {reward_scale}, no finite number above 0; run `quadloop finetune` again")
    if learnt_gamma is None:
        raise QuadloopError(f"{path} is of an earlier version, which did not say its discount; run `quadloop finetune` again")
    if learnt_gamma != gamma:
        raise QuadloopError(f"{path} was learnt with gamma {learnt_gamma:g}, ppo.gamma is {gamma:g}; give both stages the same")
    return value, reward_scale


def _value_of(sizes: list[int], state: dict[str, Any]) -> Value:
    """V with these layer sizes, input first; ValueError for sizes that no value function of ours has, since a file decides about memory,
    and for weights that are no numbers."""
    if not all(isinstance(size, int) and size >= 1 for size in sizes) or sizes[-1] != 1:
        raise ValueError("no layer sizes of a value function")
    if sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes)) > MAX_WEIGHTS:
        raise ValueError(f"layer sizes of more than {MAX_WEIGHTS:,} weights")
    value = Value(sizes[0], tuple(sizes[1:-1]))
    value.load_state_dict(state)
    refuse_infinite(value)
    return value
