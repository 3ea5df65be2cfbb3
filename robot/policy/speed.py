"""Whether a policy answers quickly enough for real time: one that does not makes every control period late."""

from __future__ import annotations

import statistics
import time

import numpy as np

from common.array_types import Float32Array
from common.errors import QuadloopError
from robot import go1
from robot.control_loop import Policy

MAX_ACT_S = 0.4 * go1.CONTROL_DT  # 8 ms; the rest of the period is for what is around it, and for a computer that is busy
ACTS = 11


class SlowPolicyError(QuadloopError):
    """A policy that takes too long for an answer."""


def require_quick(policy: Policy) -> None:
    """SlowPolicyError if the median of ACTS acts takes longer than MAX_ACT_S. A policy that is quick costs a millisecond."""
    layout = policy.metadata.layout
    history = np.zeros((layout.history, layout.frame_size), dtype=np.float32)
    policy.act(history)  # the first takes longer
    median_s = statistics.median(_seconds_of_an_act(policy, history) for _ in range(ACTS))
    if median_s > MAX_ACT_S:
        raise SlowPolicyError(
            f"the policy takes {1e3 * median_s:.0f} ms for an answer on this computer, more than {1e3 * MAX_ACT_S:g} ms of "
            f"{1e3 * go1.CONTROL_DT:g}; take a smaller network or a faster computer"
        )


def _seconds_of_an_act(policy: Policy, history: Float32Array) -> float:
    begun_s = time.perf_counter()
    policy.act(history)
    return time.perf_counter() - begun_s
