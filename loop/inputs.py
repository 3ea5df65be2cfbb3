"""What a run starts from: checked before anything is written, and named by its content."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from common.errors import QuadloopError
from common.files import sha256_of_bytes, sha256_of_file
from learners.onnx_graph import ForeignGraphError, policy_of_graph
from robot.policy.artifact import PolicyArtifact, load_artifact

LEAST_STD, LARGEST_STD = 1e-4, 1e2
"""Of an action, in its units: below the one densities overflow, above the other the robot clips nearly every action."""


class UntrainableError(QuadloopError):
    """A policy that can act, but that learning could only blow up on."""


def load_trainable(path: Path) -> PolicyArtifact:
    """The artifact at `path`; ForeignGraphError if it can act but its graph is none that the learners can take apart, UntrainableError if
    an action's standard deviation is none that they can explore with."""
    artifact = load_artifact(path)
    try:
        std = policy_of_graph(path.read_bytes()).log_std.detach().exp()
    except ForeignGraphError as error:
        advice = "it can be evaluated but not trained on; start from a policy that quadloop made or imported"
        raise ForeignGraphError(f"{path}: {error}; {advice}") from error
    if not bool(((std >= LEAST_STD) & (std <= LARGEST_STD)).all()):
        advice = f"learning needs {LEAST_STD:g} to {LARGEST_STD:g}; start from another policy"
        raise UntrainableError(f"{path}: its actions have standard deviations from {std.min():.3g} to {std.max():.3g}; {advice}")
    return artifact


def sha256_of_files(directory: Path, paths: Sequence[Path]) -> str:
    """Hex sha256 over the sorted places below `directory` and contents of files: the same wherever the directory lies."""
    return sha256_of_bytes(json.dumps(sorted((path.relative_to(directory).as_posix(), sha256_of_file(path)) for path in paths)).encode())
