"""What a step of each part of the offline stage takes, at the paper's sizes, on hopper-sized made data or on robot-sized. Prints JSON.

python benchmarks/offline.py [--sizes hopper|robot] [--steps 50] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from learners.amq import amq, draw_noise
from learners.cloning import PAPER as PAPER_CLONING
from learners.cloning import cloning_step
from learners.policy import GaussianPolicy, member, stack
from learners.transitions import Transitions
from learners.uni_o4 import PAPER, UniO4

SIZES = {"hopper": (11, 3, 1, (256, 256, 256), (200,) * 4), "robot": (290, 12, 5, (512, 256, 128), (400,) * 4)}
"""Observation, action, history, hidden layers of the policy, of the transition model (Table 5)."""
ROWS = 20_000
AMQ_STARTS, AMQ_HORIZON = 510, 1000  # 512 states, as a multiple of the five elites


def made(observation_size: int, action_size: int) -> Transitions:
    """Random steps: what a step costs does not depend on what it learns."""
    random = np.random.default_rng(0)
    observations = random.normal(size=(ROWS + 1, observation_size)).astype(np.float32)
    ends = np.arange(ROWS) % 1000 == 999
    return Transitions(
        observations[:-1], random.uniform(-1, 1, (ROWS, action_size)).astype(np.float32), random.normal(size=ROWS).astype(np.float32),
        observations[1:], np.zeros(ROWS, np.bool_), ends, np.arange(0, ROWS, 1000),
    )  # fmt: skip


def median_ms(step: Callable[[], object], steps: int, uncounted: int = 5) -> float:
    """Of `steps` steps, after a few that are not counted."""
    taken = []
    for index in range(steps + uncounted):
        began_s = time.perf_counter()
        step()
        if index >= uncounted:
            taken.append(1e3 * (time.perf_counter() - began_s))
    return statistics.median(taken)


def measure(sizes: str, steps: int) -> dict[str, float]:
    """Medians: milliseconds a step, and a call of AM-Q of one policy."""
    observation_size, action_size, history, hidden, model_hidden = SIZES[sizes]
    config = replace(PAPER, dynamics=replace(PAPER.dynamics, hidden=model_hidden))
    start = stack([GaussianPolicy(observation_size, action_size, hidden, initial_std=0.4) for _ in range(config.members)])
    learner = UniO4(made(observation_size, action_size), start, history, config, 0)
    generator, data = torch.Generator().manual_seed(0), learner.data
    clones, target, behavior = (stack([member(start, index) for index in range(config.members)]) for _ in range(3))
    cloner, improver = (torch.optim.Adam(policies.parameters(), lr=1e-4, fused=True) for policies in (clones, target))

    one = stack([member(start, 0)])
    starts = data.draw_observations((AMQ_STARTS,), generator)
    noise = draw_noise(AMQ_HORIZON, config.dynamics.elites, AMQ_STARTS, action_size, learner.model.frame_size, generator)
    return {
        "bc_ms_per_step": median_ms(lambda: cloning_step(clones, cloner, data, 1.0, PAPER_CLONING, generator), steps),
        "qv_ms_per_step": median_ms(lambda: learner.critics.update(data.draw(config.iql.batch_size, generator)), steps),
        "dynamics_ms_per_step": median_ms(lambda: learner.model.update(data.draw(config.dynamics.batch_size, generator)), steps),
        "improve_ms_per_step": median_ms(lambda: learner.improvement_step(target, behavior, improver), steps),
        "amq_ms_per_call": median_ms(lambda: amq(one, learner.critics.q, learner.model, starts, noise), 3, uncounted=1),
    }


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", choices=SIZES, default="hopper")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="is always on")
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    print(json.dumps({"sizes": wanted.sizes, "threads": wanted.threads} | measure(wanted.sizes, wanted.steps)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
