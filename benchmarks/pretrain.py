"""How fast pretraining is: end to end, and of physics and of learning alone, on the same robots in the same run. Prints JSON.

python benchmarks/pretrain.py [--warm-up N] [--rounds N] [--seed N] [--json]

After N updates of training, so that most robots stand or walk, each round times three things: an iteration (collecting a rollout and
learning from it), the engine alone (the same rollout's targets from the same states, nothing around it), and an update alone. Figures are
medians over rounds; the ratio is taken round by round, since the machine may be shared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as quadloop does

import numpy as np
import torch

from learners.precision import multiplies_bf16
from sim_pretrain.config import PretrainConfig
from sim_pretrain.environment import WalkingEnvironment
from sim_pretrain.pretrain import Pretrainer
from twin.world import FLAT


@dataclass(frozen=True)
class Round:
    """Seconds of one round."""

    iteration: float
    physics: float
    learning: float


class Recorder:
    """Stands before a twin's engine and remembers what passes: the robots' states, resets included, and the targets."""

    def __init__(self, environment: WalkingEnvironment) -> None:
        self.twin = environment.twin
        self.overhead = 0.0  # s, of remembering
        self.passed: list[tuple[dict[str, np.ndarray], np.ndarray]] = []
        self._step = self.twin.step_unlimited

    def start(self) -> None:
        """Remember from now on."""
        self.passed = []
        self.twin.step_unlimited = self._record  # type: ignore[method-assign]

    def play(self) -> float:
        """Seconds of the engine alone, for the remembered targets from the remembered states."""
        seconds = 0.0
        for state, target in self.passed:
            self.twin.load_state_dict(state)
            seconds += timed(partial(self._step, target))
        return seconds

    def stop(self) -> None:
        """Let everything pass unremembered."""
        self.twin.step_unlimited = self._step  # type: ignore[method-assign]

    def _record(self, joint_pos_target: np.ndarray) -> None:
        began = time.perf_counter()
        self.passed.append((self.twin.state_dict(), joint_pos_target.copy()))
        self.overhead += time.perf_counter() - began
        self._step(joint_pos_target)


def timed(action: Callable[[], object]) -> float:
    """Seconds that `action` takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def measure(trainer: Pretrainer, environment: WalkingEnvironment) -> Round:
    """One round; training goes on from its iteration as if nothing else had happened to the robots."""
    recorder = Recorder(environment)
    recorder.start()
    iteration = timed(trainer.iterate) - recorder.overhead
    recorder.stop()
    after = environment.twin.state_dict()
    physics = recorder.play()
    environment.twin.load_state_dict(after)
    return Round(iteration, physics, timed(trainer.learn))


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--warm-up", type=int, default=40, help="updates before anything is timed")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--num-robots", type=int, default=PretrainConfig().environment.num_robots)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="JSON is what it prints in any case")
    wanted = parser.parse_args()
    config = PretrainConfig()
    config = replace(config, environment=replace(config.environment, num_robots=wanted.num_robots))
    environment = WalkingEnvironment(FLAT, config.environment, wanted.seed)
    trainer = Pretrainer(config, wanted.seed, environment)
    for _ in range(wanted.warm_up):
        trainer.iterate()
    rounds = [measure(trainer, environment) for _ in range(wanted.rounds)]
    environment.close()
    steps = trainer.rollout.size
    figures = {
        "control_steps_per_s": steps / statistics.median(one.iteration for one in rounds),
        "physics_steps_per_s": steps / statistics.median(one.physics for one in rounds),
        "learning_steps_per_s": steps / statistics.median(one.learning for one in rounds),
        "ratio": statistics.median(one.physics / one.iteration for one in rounds),
        "ratio_min": min(one.physics / one.iteration for one in rounds),
        "ratio_max": max(one.physics / one.iteration for one in rounds),
        "num_robots": wanted.num_robots,
        "rounds": wanted.rounds,
        "seed": wanted.seed,
        "threads": torch.get_num_threads(),
        "bf16": multiplies_bf16(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
