"""What a run starts from: checked before anything is written, and named by its content."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from common.files import sha256_of_bytes, sha256_of_file
from learners.onnx_graph import ForeignGraphError, policy_of_graph
from robot.policy.artifact import PolicyArtifact, load_artifact


def load_trainable(path: Path) -> PolicyArtifact:
    """The artifact at `path`; ForeignGraphError if it can act but its graph is none that the learners can take apart."""
    artifact = load_artifact(path)
    try:
        policy_of_graph(path.read_bytes())
    except ForeignGraphError as error:
        advice = "it can be evaluated but not trained on; start from a policy that quadloop made or imported"
        raise ForeignGraphError(f"{path}: {error}; {advice}") from error
    return artifact


def sha256_of_files(directory: Path, paths: Sequence[Path]) -> str:
    """Hex sha256 over the sorted places below `directory` and contents of files: the same wherever the directory lies."""
    return sha256_of_bytes(json.dumps(sorted((path.relative_to(directory).as_posix(), sha256_of_file(path)) for path in paths)).encode())
