"""Does a query that is cheap decide as one in full? Prints JSON. What it costs: offline.py.

Uni-O4 on a task of D4RL without a gate (gate_study.py: walk), asked at the paper's horizon whether each member's policy is better than the
one PERIOD steps before it, by AM-Q's difference alone, as the paper's gate is. It is asked

- in full: paired, 510 starts, Q of every state,
- unpaired: every policy with starts and luck of its own, as released, 510 of them, otherwise in full, several times with other luck,
- as we do (learners/amq.py), with 510 starts and with fewer, several times with other luck,

all in the precision that suits the processor.

What they estimate is taken from `repeats` times 510 starts of other luck, as we do but in float32. Each is scored by the signs of these
differences that it tells: of all pairs, and of those that lie two standard errors from zero.

python benchmarks/queries.py hopper-medium-replay [--horizon 1000] [--steps 1000] [--repeats 3] [--threads 1] [--data runs/d4rl/data]
       [--cells runs/d4rl/cells]
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gate_study import at_precision, walk
from numpy.typing import NDArray
from shared import say
from torch import Tensor

from d4rl_bench.offline import PARTS, config_of, fitted_learner
from d4rl_bench.rewards import learning_rewards
from d4rl_bench.source import load
from d4rl_bench.task import find_task
from learners.amq import Noise, amq, imagine, per_start
from learners.policy import GaussianPolicy, stack
from learners.precision import Precision, multiplies_bf16
from learners.uni_o4 import UniO4

STARTS = 510  # the release's 512, as a multiple of the elites
FEWER = (250, 120, 60)
PERIOD = 200
PAPER_SIZES = {"uni_o4.dynamics.members": 7, "uni_o4.dynamics.elites": 5}
"""Those of policies, critics and models are Table 5's in every preset."""


@dataclass(frozen=True)
class Truth:
    """Of every step of every member, (K - 1, M)."""

    difference: NDArray[np.float64]
    error: NDArray[np.float64]  # standard

    @property
    def clear(self) -> NDArray[np.bool_]:
        """Where the sign is known."""
        return np.abs(self.difference) > 2 * self.error

    def shares(self, told: Tensor) -> dict[str, float]:
        """How much of it has the signs of the differences `told`."""
        same = np.sign(told.double().numpy()) == np.sign(self.difference)
        return {"told": round(float(same.mean()), 3), "told_of_clear": round(float(same[self.clear].mean()), 3)}


@torch.no_grad()
def in_full(learner: UniO4, policies: GaussianPolicy, starts: Tensor, noise: Noise) -> Tensor:
    """Definition 1 with every Q of it, (P, B)."""
    with at_precision(learner, "auto"):
        steps = imagine(policies, learner.model, starts, noise, learner.config.action_limit)
        return per_start(sum((step.alive * learner.critics.minimum(step.states, step.actions) for step in steps), torch.zeros(())))


def as_we_do(learner: UniO4, policies: GaussianPolicy, starts: Tensor, noise: Noise, precision: Precision = "auto") -> Tensor:
    """The same by learners/amq.py."""
    with at_precision(learner, precision):
        return amq(policies, learner.critics, learner.model, starts, noise, learner.config.action_limit)


def steps_of(values: Tensor, members: int) -> Tensor:
    """(K M, B) -> (K - 1, M, B): the difference of each policy from the one before it."""
    of_members = values.reshape(-1, members, values.shape[-1])
    return of_members[1:] - of_members[:-1]


def signs(learner: UniO4, asked: list[GaussianPolicy], members: int, horizon: int, repeats: int) -> dict[str, Any]:
    """What each form tells."""

    def asked_once(starts: int, precision: Precision) -> Tensor:
        return steps_of(as_we_do(learner, everyone, *learner.draw_luck(starts, horizon), precision), members)

    def unpaired() -> Tensor:
        alone = torch.stack([in_full(learner, stack([policy]), *learner.draw_luck(STARTS, horizon)).mean() for policy in asked])
        return steps_of(alone[:, None], members)[..., 0]

    everyone, shares = stack(asked), {}
    all_luck = torch.cat([asked_once(STARTS, "fp32") for _ in range(repeats)], -1).double()
    truth = Truth(all_luck.mean(-1).numpy(), (all_luck.std(-1) / all_luck.shape[-1] ** 0.5).numpy())
    say("truth", repeats, repeats, {})
    for starts in (STARTS, *FEWER):
        shares[f"ours, {starts} starts"] = [truth.shares(asked_once(starts, "auto").mean(-1)) for _ in range(repeats)]
        say(f"ours, {starts} starts", repeats, repeats, {})
    shares["in full"] = [truth.shares(steps_of(in_full(learner, everyone, *learner.draw_luck(STARTS, horizon)), members).mean(-1))]
    say("in full", 1, 1, {})
    shares["unpaired"] = [truth.shares(unpaired()) for _ in range(repeats)]
    say("unpaired", repeats, repeats, {})
    return {"pairs": truth.clear.size, "clear_pairs": int(truth.clear.sum()), "signs": shares}


def study(wanted: argparse.Namespace) -> dict[str, Any]:
    """Everything about one task."""
    task = find_task(wanted.task)
    transitions = load(task, wanted.data).transitions
    config, parts = config_of(task, "minutes", PAPER_SIZES | {"uni_o4.gate_period": PERIOD}), wanted.cells / task.name / PARTS
    members = config.uni_o4.members
    learner, _ = fitted_learner(transitions, learning_rewards(task, transitions), config, 0, parts, say)
    asked = walk(learner, wanted.steps)
    learner.begin("queries")
    described = {"task": task.name, "data": transitions.sha256, "horizon": wanted.horizon, "bf16_in_hardware": multiplies_bf16()}
    described |= {"threads": wanted.threads, "members": members, "elites": config.uni_o4.dynamics.elites}
    return described | signs(learner, asked, members, wanted.horizon, wanted.repeats)


def main() -> int:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--horizon", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", default="runs/d4rl/data")
    parser.add_argument("--cells", type=Path, default=Path("runs/d4rl/cells"))
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    print(json.dumps(study(wanted)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
