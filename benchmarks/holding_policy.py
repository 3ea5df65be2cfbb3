"""A policy of the released size that holds the default posture: for measuring a control loop without a file from elsewhere."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from learners.onnx_graph import policy_graph
from robot import go1
from robot.observation import GO1_LAYOUT
from robot.policy.artifact import PolicyArtifact, write_artifact

SIZES = (GO1_LAYOUT.size, 512, 256, 128, go1.NUM_JOINTS)


def write_holding_policy(path: Path, std: float = 0.1) -> PolicyArtifact:
    """It computes as much as a real one and multiplies it by zero in the end; `std` in units of action."""
    rng = np.random.default_rng(0)
    layers = [(rng.normal(0.0, n**-0.5, (m, n)), np.zeros(m)) for n, m in pairwise(SIZES)]
    layers[-1] = np.zeros_like(layers[-1][0]), layers[-1][1]
    return write_artifact(path, policy_graph(layers, np.full(go1.NUM_JOINTS, np.log(std))), "pretrained", None)
