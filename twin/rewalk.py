"""Recorded commands walked again on a twin by the policy that drove.

A constant command would be another experiment: in the recordings the stick moves all the time, most fast commands last less than a
second, and a robot that has no time to speed up walks slowly on any floor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robot import go1
from robot.observation import GO1_LAYOUT, ObservationLayout
from twin.batch import BatchTwin
from twin.walk_figures import Walk
from twin.walkers import Policy, Walkers
from twin.world import World

AT_ONCE = 256  # robots; when one has walked its commands or fallen, another takes its place


def rewalk(world: World, walks: Sequence[Walk], policy: Policy, seed: int, layout: ObservationLayout = GO1_LAYOUT) -> list[Walk]:
    """Each walk's commands, walked by `policy` with the walk's noise from a standing start until their end or a fall."""
    order = np.argsort([-len(walk.commands) for walk in walks], kind="stable")  # the longest first, so that none is left alone at the end
    lengths = np.array([len(walk.commands) for walk in walks])
    commands, speed = np.zeros((len(walks), lengths.max(), 15)), np.full((len(walks), lengths.max()), np.nan)
    gravity = np.zeros((*speed.shape, 3))
    for index, walk in enumerate(walks):
        commands[index, : lengths[index]] = walk.commands
    noise = np.array([walk.noise_std for walk in walks])
    fell, walked = np.zeros(len(walks), dtype=np.bool_), np.zeros(len(walks), dtype=np.int64)
    rng = np.random.default_rng(seed)
    count = waiting = min(AT_ONCE, -(-int(lengths.sum()) // int(lengths.max())))  # no more than the longest walk leaves time to serve
    of, step, live = order[:count].copy(), np.zeros(count, dtype=np.int64), np.ones(count, dtype=np.bool_)
    with BatchTwin(world, count, rng=rng) as twin:
        walkers = Walkers(twin, commands[of, step], layout)
        walkers.reset(live, rng)
        while live.any():
            walkers.commands[:] = commands[of, step]
            drawn = noise[of, None] * rng.standard_normal((count, go1.NUM_JOINTS))
            state, _ = walkers.walk(policy, drawn)  # as in a recording, a row holds what was so before its action
            down = walkers.fallen()
            speed[of[live], step[live]], gravity[of[live], step[live]] = state.base_lin_vel_b[live, 0], state.gravity_b[live]
            over = live & (down | (step + 1 == lengths[of]))
            fell[of[over]], walked[of[over]] = down[over], step[over] + 1
            step += live & ~over
            if over.any():
                places = np.flatnonzero(over)
                following = order[waiting : waiting + len(places)]
                waiting += len(following)
                of[places[: len(following)]], step[places[: len(following)]] = following, 0
                live[places[len(following) :]] = False
                walkers.reset(over, rng)
    return [
        Walk(walk.commands[:steps], speed[index, :steps], gravity[index, :steps], bool(fell[index]), walk.noise_std, walk.session)
        for index, (walk, steps) in enumerate(zip(walks, walked, strict=True))
    ]
