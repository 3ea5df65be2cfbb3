"""One cell of the tables: a phase, a task, a method, a seed. What it needs, the name that follows from that, and what it gives."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.config import config_hash, merged, with_overrides
from common.errors import ConfigError, QuadloopError
from d4rl_bench.baseline_policy import TanhPolicy
from d4rl_bench.baselines import METHODS as BASELINES
from d4rl_bench.baselines import ONLINE_METHODS as ONLINE_BASELINES
from d4rl_bench.baselines import RECIPE as BASELINE_RECIPE
from d4rl_bench.baselines import BaselineConfig, OnlineBaselineConfig, finetune_baseline, train_baseline
from d4rl_bench.d3rlpy_process import library_versions
from d4rl_bench.environments import make_environment
from d4rl_bench.evaluation import Act, Evaluator, mean_action
from d4rl_bench.evaluation import recipe as evaluation_recipe
from d4rl_bench.finetuning import Curve, finetune
from d4rl_bench.offline import PRESETS, OfflineConfig, config_of, run_uni_o4
from d4rl_bench.online import PAPER, SCRATCH, SEED_STRIDE, OnlineConfig
from d4rl_bench.online import RECIPE as ONLINE_RECIPE
from d4rl_bench.rewards import LearningRewards, learning_rewards
from d4rl_bench.scaling import Scaler, scaled, scaler_of
from d4rl_bench.source import LoadedData, load
from d4rl_bench.task import FROM_NOTHING, Task, find_task, first_of_world
from learners.progress import Progress
from learners.training import RECIPE
from learners.transitions import Transitions

UNI_O4 = "uni-o4"
METHODS = {"offline": (UNI_O4, *BASELINES), "online": (UNI_O4, *ONLINE_BASELINES, FROM_NOTHING)}
"""Of each phase; online they name what the fine-tuning starts from."""
EVALUATION_SEED = 1_000_000  # and SEED_STRIDE times the job's seed beyond it: starts that no training has met

_BASELINES = {
    "smoke": BaselineConfig(steps=200, batch_size=64, hidden=(32, 32), checkpoints=2),
    "minutes": BaselineConfig(),
    "paper": BaselineConfig(steps=1_000_000),
}  # 1,000,000: the steps of the baselines' own papers
_FINE_TUNING = {"smoke": OnlineConfig(steps=2000), "minutes": OnlineConfig(), "paper": PAPER}
_ONLINE_POINTS = {"smoke": 2, "minutes": 25, "paper": 100}
_BASELINES_UPDATE_EVERY = {"smoke": 1, "minutes": 5, "paper": 1}  # environment steps for a gradient step: an hour a cell becomes a quarter
_BASELINES_EARLY_POINTS = 10  # a baseline's curve has even steps: as many times the points, so that its first steps are seen too

_DECISIVE = ("world", "random_return", "expert_return", "episode_steps", "evaluation_episodes")
"""What of a task decides a result, besides settings and data; where data are learnt from also the next ones."""
_DECISIVE_OF_DATA = ("name", "learning_reward")

Config = OfflineConfig | BaselineConfig | OnlineConfig | OnlineBaselineConfig


@dataclass(frozen=True)
class Job:
    """What a cell is made from. `data` and `start` are paths or names; the cell's key depends on the content that they lead to.

    A run that starts from nothing is the same for all tasks of a world, and is filed under the first of them.
    """

    phase: str
    """offline or online"""
    task: str
    """full name"""
    method: str
    """one of METHODS[phase]"""
    seed: int
    preset: str = "minutes"
    """one of d4rl_bench.offline.PRESETS"""
    overrides: dict[str, Any] = field(default_factory=dict)
    """dotted names of settings -> values: an ablation, unless all of them are what the preset says anyway"""
    data: str = ""
    """where the data are, see d4rl_bench.source.load"""
    start: str = ""
    """online: the folder of the offline run of the same task, method and seed"""

    def __post_init__(self) -> None:
        known = METHODS.get(self.phase, ())
        if self.method not in known:
            raise QuadloopError(f"'{self.method}' is no method of the {self.phase} phase; known are {', '.join(known)}")
        if self.method == FROM_NOTHING:
            object.__setattr__(self, "task", first_of_world(self.task).name)

    @cached_property
    def config(self) -> Config:
        """All settings, resolved. ConfigError for overrides that do not fit, or for another discount than that of the V it starts from."""
        task = find_task(self.task)
        if self.phase == "offline" and self.method == UNI_O4:
            return config_of(task, self.preset, self.overrides)
        config = with_overrides(self._plain_config(task), self.overrides)
        if isinstance(config, OnlineConfig) and self.method == UNI_O4:
            learnt_gamma = config_of(task, self.preset, {}).uni_o4.iql.gamma
            if config.ppo.gamma != learnt_gamma:
                raise ConfigError(f"ppo.gamma is {config.ppo.gamma:g}, but the offline phase learnt V with {learnt_gamma:g}; leave it")
        return config

    def named(self) -> tuple[str, dict[str, Any]]:
        """Preset and overrides; where these change nothing, or lead to another preset, that preset and none: it is its plain cell then."""
        plain = (preset for preset in (self.preset, *PRESETS) if self.config == replace(self, preset=preset, overrides={}).config)
        preset = next(plain, None)
        return (self.preset, self.overrides) if preset is None else (preset, {})

    def _plain_config(self, task: Task) -> Config:
        if self.phase == "offline":
            return _baseline_config(task, self.preset)
        steps = _FINE_TUNING[self.preset].steps  # of every method, so that curves can be laid over one another
        every = steps // _ONLINE_POINTS[self.preset]
        if self.method in BASELINES:
            return OnlineBaselineConfig(steps, _BASELINES_UPDATE_EVERY[self.preset], max(1, every // _BASELINES_EARLY_POINTS))
        config = SCRATCH if self.method == FROM_NOTHING else merged(_FINE_TUNING[self.preset], task.online_settings, "")
        return replace(config, steps=steps, evaluate_every=every)

    def key(self) -> str:
        """16 hex digits: the same for the same work, wherever its data lie."""
        parts = {name: getattr(self, name) for name in ("phase", "method", "seed")} | {"recipes": self._recipes(), "settings": self.config}
        if self.method != FROM_NOTHING:
            parts |= {"data": _data_hash(self.task, self.data), "start": _key_in(self.start)}
        names = _DECISIVE if self.method == FROM_NOTHING else _DECISIVE + _DECISIVE_OF_DATA
        return config_hash(parts | {"task": {name: getattr(find_task(self.task), name) for name in names}})[:16]

    def _recipes(self) -> list[int]:
        """The numbers of all parts of the code that decide the result."""
        evaluation = evaluation_recipe(find_task(self.task))
        if self.method in BASELINES:
            return [evaluation, BASELINE_RECIPE]
        return [evaluation, RECIPE] + ([ONLINE_RECIPE] if self.phase == "online" else [])

    def name(self) -> str:
        """The cell's folder, relative: task, then phase, method, seed and key."""
        return f"{self.task}/{self.phase}-{self.method}-seed_{self.seed}-{self.key()}"

    def to_json(self) -> dict[str, Any]:
        """For a worker in another process."""
        return asdict(self)


@cache
def _data_hash(task: str, where: str) -> str:
    """The hash of the data, which are not kept in memory: a sweep has many jobs. DataError if they are not of this task."""
    return load(find_task(task), where).sha256


def _baseline_config(task: Task, preset: str) -> BaselineConfig:
    return replace(_BASELINES[preset], expectile=task.iql_expectile, weight_temp=task.iql_temperature)


def _key_in(start: str) -> str:
    """The key of the offline cell in that folder, "" where there is none to start from."""
    return Path(start).name.rpartition("-")[2] if start else ""


def run_job(job: Job, folder: Path, progress: Progress) -> dict[str, Any]:
    """Do the work in `folder`, from where an earlier try was; returns the cell's result, JSON values."""
    task = find_task(job.task)
    evaluator = Evaluator(task, EVALUATION_SEED + SEED_STRIDE * job.seed)
    if job.method == FROM_NOTHING:
        result = _by_ppo(job, task, folder, evaluator, progress)
    else:
        data = load(task, job.data)
        run = _offline if job.phase == "offline" else _online
        result = run(job, task, data.transitions, folder, evaluator, progress) | {"data": _described(data)}
    evaluator.close()
    preset, overrides = job.named()
    cell = {name: getattr(job, name) for name in ("phase", "task", "method", "seed")}
    return cell | {"preset": preset, "overrides": overrides, "key": job.key()} | result


def _described(data: LoadedData) -> dict[str, Any]:
    return {"sha256": data.sha256, "source": data.source, "steps": len(data.transitions), "made_locally": data.made_locally}


def _offline(job: Job, task: Task, data: Transitions, folder: Path, evaluator: Evaluator, progress: Progress) -> dict[str, Any]:
    rewards = learning_rewards(task, data)
    if isinstance(job.config, OfflineConfig):
        outcome = run_uni_o4(data, rewards, job.config, job.seed, folder, evaluator, progress)
        act, curve, evidence = mean_action(outcome.policy, outcome.scaler), outcome.curve, outcome.evidence
    else:
        assert isinstance(job.config, BaselineConfig)  # noqa: S101  the two configs of this phase
        scaler = scaler_of(data.observations)
        seen = scaled(rewards.applied_to(data), scaler)
        evidence = {"library_versions": library_versions()}  # before the training: of what begins
        policies = train_baseline(job.method, seen, job.config, job.seed, folder, progress)
        curve = _curve(policies, scaler, evaluator, progress)
        act = _scaled_act(policies[-1][1], scaler)
    return evaluator.measure(act) | {"curve": [list(point) for point in curve]} | evidence


def _online(job: Job, task: Task, data: Transitions, folder: Path, evaluator: Evaluator, progress: Progress) -> dict[str, Any]:
    if isinstance(job.config, OnlineConfig):
        return _by_ppo(job, task, folder, evaluator, progress)
    evidence = {"library_versions": library_versions()}
    return _ended(_finetune_baseline(job, task, data, folder, evaluator, progress)) | evidence


def _by_ppo(job: Job, task: Task, folder: Path, evaluator: Evaluator, progress: Progress) -> dict[str, Any]:
    assert isinstance(job.config, OnlineConfig)  # noqa: S101
    start = None if job.method == FROM_NOTHING else Path(job.start)
    return _ended(finetune(task, start, job.config, job.seed, folder, evaluator, progress))


def _ended(curve: Curve) -> dict[str, Any]:
    return {"score": curve[-1][1], "curve": [list(point) for point in curve]}


def _finetune_baseline(job: Job, task: Task, data: Transitions, folder: Path, evaluator: Evaluator, progress: Progress) -> Curve:
    assert isinstance(job.config, OnlineBaselineConfig)  # noqa: S101
    scaler, rewards = scaler_of(data.observations), learning_rewards(task, data)
    steps = ScaledSteps(task, scaler, rewards, SEED_STRIDE * job.seed)
    seen, offline = scaled(rewards.applied_to(data), scaler), _baseline_config(task, job.preset)
    policies = finetune_baseline(job.method, seen, offline, job.config, steps, job.seed, Path(job.start), folder, progress)
    return _curve(policies, scaler, evaluator, progress)


def _curve(policies: list[tuple[int, TanhPolicy]], scaler: Scaler, evaluator: Evaluator, progress: Progress) -> Curve:
    """The score of each policy; of an online phase there are hundreds, and each is told."""
    curve: Curve = []
    for step, policy in policies:
        curve.append((step, evaluator.score(_scaled_act(policy, scaler))))
        progress("evaluation", len(curve), len(policies), {"score": curve[-1][1]})
    return curve


def _scaled_act(policy: TanhPolicy, scaler: Scaler) -> Act:
    return lambda observations: policy.act(scaler(observations))


class ScaledSteps:
    """One environment as a learner sees it: scaled observations, learning rewards (d4rl_bench.d3rlpy_process.Steps)."""

    def __init__(self, task: Task, scaler: Scaler, rewards: LearningRewards, seed: int) -> None:
        self._environment, self._scaler, self._rewards = make_environment(task), scaler, rewards
        self._seed: int | None = seed  # of the first episode; the next ones go on from there

    def reset(self) -> NDArray[np.float32]:
        """The first observation (O,) of an episode."""
        observation, _ = self._environment.reset(seed=self._seed)
        self._seed = None
        return self._scaler(observation)

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool]:
        """(observation (O,), reward, terminated, truncated)."""
        observation, reward, terminated, truncated, _ = self._environment.step(action)
        return self._scaler(observation), self._rewards.scale * (float(reward) + self._rewards.shift), terminated, truncated
