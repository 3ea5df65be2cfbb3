"""What a step of each part of the offline stage takes, at the paper's sizes, beside the same as it is usually written. Prints JSON.

The other form is that of plain_offline.py. Data are made: what a step costs does not depend on what it learns. `amq` is one call: AM-Q of
one policy with the paper's H. A query of the gate is all that it asks about an ensemble's candidates; what their incumbents are worth is
known in both forms from when they were candidates. Ours is also of fewer starts, of which 120 tell differences about as often as the plain
form's 510 unpaired ones (queries.py); how many times faster is beside these 510. `share_of` is of the time that our steps take.

python benchmarks/offline.py [--sizes hopper|robot] [--rounds 3] [--steps 20] [--threads 2] [--json]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from plain_offline import Plain
from torch.profiler import ProfilerActivity, profile

from learners.amq import amq
from learners.batches import TensorData
from learners.cloning import PAPER as PAPER_CLONING
from learners.cloning import cloning_step
from learners.policy import GaussianPolicy, member, stack
from learners.precision import multiplies_bf16
from learners.transitions import Transitions
from learners.uni_o4 import PAPER, UniO4


@dataclass(frozen=True)
class Sizes:
    """Of Table 5."""

    observation: int
    action: int
    history: int
    hidden: tuple[int, ...]  # of the policies
    activation: str
    model_hidden: tuple[int, ...]
    horizon: int  # of AM-Q


SIZES = {
    "hopper": Sizes(11, 3, 1, (256, 256, 256), "relu", (200,) * 4, 1000),
    "robot": Sizes(290, 12, 5, (512, 256, 128), "elu", (400,) * 4, 20),
}
STEPS = ("bc", "qv", "dynamics", "improve")
"""The others are calls."""
KINDS = {
    "products": ("mm", "linear"), "activations": ("relu", "elu", "silu", "sigmoid", "tanh", "threshold"), "copies": ("copy_", "cat"),
    "the_optimiser": ("adam",),
}  # fmt: skip
"""What torch's operations have in their names."""
ROWS = 20_000
STARTS, FEWER_STARTS = 510, (250, 120)  # the release's 512, as a multiple of the five elites; and see queries.py


def made(sizes: Sizes) -> Transitions:
    """Random steps: what a step costs does not depend on what it learns."""
    random = np.random.default_rng(0)
    observations = random.normal(size=(ROWS + 1, sizes.observation)).astype(np.float32)
    ends = np.arange(ROWS) % 1000 == 999
    return Transitions(
        observations[:-1], random.uniform(-1, 1, (ROWS, sizes.action)).astype(np.float32), random.normal(size=ROWS).astype(np.float32),
        observations[1:], np.zeros(ROWS, np.bool_), ends, np.arange(0, ROWS, 1000),
    )  # fmt: skip


def median_ms(step: Callable[[], object], steps: int, uncounted: int) -> float:
    """Of `steps` steps, after a few that are not counted."""
    taken = []
    for index in range(steps + uncounted):
        began_s = time.perf_counter()
        step()
        if index >= uncounted:
            taken.append(1e3 * (time.perf_counter() - began_s))
    return statistics.median(taken)


def ours(sizes: Sizes) -> dict[str, Callable[[], object]]:
    """A step of each part, and a query: AM-Q of every member's candidate."""
    config = replace(PAPER, dynamics=replace(PAPER.dynamics, hidden=sizes.model_hidden))
    shape = sizes.observation, sizes.action, sizes.hidden, (config.members,), sizes.activation
    start = GaussianPolicy(*shape, initial_std=0.4)
    learner = UniO4(made(sizes), start, sizes.history, config, 0)
    generator, data = torch.Generator().manual_seed(0), learner.data
    clones, target, behavior = (copy.deepcopy(start) for _ in range(3))
    cloner, improver = (torch.optim.Adam(policies.parameters(), lr=1e-4, fused=True) for policies in (clones, target))

    def query(policies: GaussianPolicy, count: int) -> object:
        return amq(policies, learner.critics, learner.model, *learner.draw_luck(count, sizes.horizon))

    return {
        "bc": lambda: cloning_step(clones, cloner, data, 1.0, PAPER_CLONING, generator),
        "qv": lambda: learner.critics.update(data.draw(config.iql.batch_size, generator)),
        "dynamics": lambda: learner.model.update(data.draw(config.dynamics.batch_size, generator)),
        "improve": lambda: learner.improvement_step(target, behavior, improver),
        "amq": lambda: query(stack([member(start, 0)]), STARTS),
        **{f"query_of_{count}": partial(query, start, count) for count in (STARTS, *FEWER_STARTS)},
    }


def plain(sizes: Sizes) -> dict[str, Callable[[], object]]:
    """The same as they are usually written, AM-Q as released."""
    written = Plain(
        sizes.observation, sizes.action, sizes.history, sizes.hidden, sizes.activation, sizes.model_hidden, PAPER.dynamics.members
    )
    generator, data = torch.Generator().manual_seed(0), TensorData(made(sizes))
    starts = data.draw_observations((STARTS,), generator)
    return {
        "bc": lambda: written.clone(data.draw(PAPER_CLONING.batch_size, generator)),
        "qv": lambda: written.critics(data.draw(PAPER.iql.batch_size, generator)),
        "dynamics": lambda: written.dynamics(data.draw(PAPER.dynamics.batch_size, generator)),
        "improve": lambda: written.improve(data.draw(PAPER.batch_size, generator)),
        "amq": lambda: written.amq(starts, sizes.horizon, PAPER.dynamics.elites),
    }


def measure(sizes: Sizes, rounds: int, steps: int) -> dict[str, float]:
    """Milliseconds of both, in turns, and how many times faster ours is: medians of `rounds`, so that what else goes on hits both. The
    plain form's query is one call for each member."""
    fast, slow = ours(sizes), plain(sizes)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in fast}
    for _ in range(rounds):
        for name, step in fast.items():
            count, uncounted = (steps, 5) if name in STEPS else (1, 0)
            beside = median_ms(slow[name], count, uncounted) if name in slow else PAPER.members * taken["amq"][-1][1]
            taken[name].append((median_ms(step, count, uncounted), beside))
            print(f"{name}: {taken[name][-1][0]:.1f} ms, plain {beside:.1f} ms", file=sys.stderr, flush=True)
    figures: dict[str, float] = {}
    for name, pairs in taken.items():
        figures |= named(name, pairs) | {f"{name}_share_of_{kind}": share for kind, share in shares(fast[name]).items()}
    return figures


def named(name: str, pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Medians of (ours, plain) in ms, and of how many times faster ours is."""
    unit, (own, other) = "ms_per_step" if name in STEPS else "ms_per_call", zip(*pairs, strict=True)
    ratio = statistics.median(beside / ours for ours, beside in pairs)
    figures = {unit: statistics.median(own), f"plain_{unit}": statistics.median(other), "times_faster": ratio}
    return {f"{name}_{what}": round(value, 2) for what, value in figures.items()}


def shares(step: Callable[[], object]) -> dict[str, float]:
    """Kind of work -> its share of the time."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        step()
    taken = dict.fromkeys([*KINDS, "the_rest"], 0.0)
    for event in found.key_averages():
        taken[next((kind for kind, words in KINDS.items() if any(word in event.key for word in words)), "the_rest")] += (
            event.self_cpu_time_total
        )
    return {kind: round(us / sum(taken.values()), 3) for kind, us in taken.items()}


def at_least_one(text: str) -> int:
    """A whole number of rounds, steps or threads."""
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", choices=SIZES, default="hopper")
    parser.add_argument("--rounds", type=at_least_one, default=3)
    parser.add_argument("--steps", type=at_least_one, default=20)
    parser.add_argument("--threads", type=at_least_one, default=2)
    parser.add_argument("--json", action="store_true", help="as it is anyway")
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    described = {"sizes": wanted.sizes, "threads": wanted.threads, "bf16": multiplies_bf16()}
    print(json.dumps(described | measure(SIZES[wanted.sizes], wanted.rounds, wanted.steps)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
