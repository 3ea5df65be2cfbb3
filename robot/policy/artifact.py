"""The policy artifact `policy.onnx`: one self-contained file with the network, its contract, and proof that it computes what it should.

Everything that makes the policy move this robot travels in the file: joint order, gains, scales, the observation layout. Loading
refuses by name whatever does not fit, before anything moves: see metadata.py for the contract, graph.py for the graph.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from common.array_types import Float32Array
from common.errors import QuadloopError
from common.files import refuse_to_overwrite, sha256_of_bytes, write_bytes
from common.revision import git_revision
from robot import go1
from robot.command import trot_command
from robot.observation import GO1_LAYOUT, ObservationLayout, observe
from robot.policy.graph import INPUT, OUTPUTS, check_graph, parse
from robot.policy.metadata import (
    GOLDEN_PAIRS,
    SCHEMA_VERSION,
    ArtifactError,
    ArtifactMetadata,
    GoldenPairs,
    check_fits_go1,
    from_json,
    layout_json,
    to_json,
)
from robot.rotation import projected_gravity

__all__ = [
    "ArtifactError",
    "ArtifactMetadata",
    "PolicyArtifact",
    "keep_or_write_artifact",
    "layout_json",
    "load_artifact",
    "write_artifact",
]


METADATA_KEY = "quadloop"
MAX_BYTES = 64 * 2**20  # a policy of the released size takes 1.3 MB
GOLDEN_TOLERANCE = 1e-5  # absolute, on means and standard deviations


class PolicyArtifact:
    """A checked policy, ready to act. Made by `load_artifact` and `write_artifact` only."""

    def __init__(self, path: Path, sha256: str, metadata: ArtifactMetadata, session: onnxruntime.InferenceSession) -> None:
        self.path = path
        self.sha256 = sha256  # of the whole file
        self.metadata = metadata
        self._run = session.run
        self._size = metadata.layout.size
        self._shapes = ((self._size,), (metadata.layout.history, metadata.layout.frame_size))

    def act(self, observation_history: NDArray[np.floating[Any]]) -> tuple[Float32Array, Float32Array]:
        """Mean and standard deviation of the action's Gaussian, before the clip to +-10.

        Takes a history (290,) or (5, 58), or a batch (B, 290) or (B, 5, 58), oldest frame first. Returns float32 mean (12,) or
        (B, 12) and std (12,) or, where it depends on the observation and a batch was given, (B, 12).
        """
        shape = observation_history.shape
        single = shape in self._shapes
        if not single and shape[1:] not in self._shapes:
            raise ArtifactError(
                f"the policy takes histories of shape {' or '.join(map(str, self._shapes))}, alone or in a batch, not {shape}"
            )
        batch = np.ascontiguousarray(observation_history, dtype=np.float32).reshape(1 if single else shape[0], self._size)
        with _errors_on_one_line("the policy failed to run"):
            mean, std = self._run(OUTPUTS, {INPUT: batch})
        return (mean[0], std.reshape(-1)) if single else (mean, std)


def write_artifact(
    path: Path,
    graph: bytes,
    stage: str,
    parent_sha256: str | None,
    layout: ObservationLayout = GO1_LAYOUT,
    force: bool = False,
    seed: int = 0,
) -> PolicyArtifact:
    """Add the Go1's contract and eight golden pairs to a serialized ONNX graph, and write it to `path`, whole or not at all.

    The graph takes `observation_history` (batch, 290) and gives `action_mean` (batch, 12) and `action_std` (12) or (batch, 12),
    all float32, any normaliser inside. Gains are the Go1's. `seed` draws the golden inputs. ArtifactError if the result
    would not load; FileExistsAlreadyError if `path` exists and `force` is not set.
    """
    refuse_to_overwrite(path, force)
    metadata = ArtifactMetadata(
        schema_version=SCHEMA_VERSION,
        robot=go1.NAME,
        joint_names=go1.JOINT_NAMES,
        default_joint_pos=tuple(go1.DEFAULT_JOINT_POS.tolist()),
        action_scale=tuple(go1.ACTION_SCALE.tolist()),
        kp=go1.KP,
        kd=go1.KD,
        control_dt_s=go1.CONTROL_DT,
        layout=layout,
        action_clip=go1.ACTION_CLIP,
        stage=stage,
        parent_sha256=parent_sha256,
        git_revision=git_revision(),
    )
    with _errors_name(path):
        content = _with_contract(graph, metadata, seed)
        artifact = _checked(path, content)
    write_bytes(path, content)
    return artifact


def keep_or_write_artifact(
    path: Path, graph: bytes, stage: str, parent_sha256: str | None, layout: ObservationLayout = GO1_LAYOUT
) -> PolicyArtifact:
    """The artifact at `path` if it holds this very graph and parent, with whatever revision made it; else `write_artifact` over it.

    Logs know a policy by the sha256 of its file. Written anew by later code, which says so in the file, the same weights would be a
    stranger to them.
    """
    with suppress(ArtifactError):
        there = load_artifact(path)
        same = onnx.load_model(path).graph == onnx.load_model_from_string(graph).graph
        if same and there.metadata.parent_sha256 == parent_sha256:
            return there
    return write_artifact(path, graph, stage, parent_sha256, layout, force=True)


def load_artifact(path: Path) -> PolicyArtifact:
    """Read an untrusted policy artifact; ArtifactError names the file and what is wrong with it or does not fit this robot."""
    with _errors_name(path):
        return _checked(path, _read(path))


def load_by_name(paths: Sequence[Path]) -> dict[str, PolicyArtifact]:
    """Several artifacts under their files' names, or under their paths where two files have the same name."""
    stems = [path.stem for path in paths]
    return {path.stem if stems.count(path.stem) == 1 else str(path): load_artifact(path) for path in paths}


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise ArtifactError(f"the file is larger than {MAX_BYTES // 2**20} MB; no policy is")
            return file.read(MAX_BYTES)
    except OSError as error:
        raise ArtifactError(f"cannot be read ({error.strerror})") from error


def _checked(path: Path, content: bytes) -> PolicyArtifact:
    model = parse(content)
    metadata, golden = from_json(_metadata_text(model))
    check_graph(model, metadata.layout.size)
    policy = PolicyArtifact(path, sha256_of_bytes(content), metadata, _session(content))
    _check_golden(policy, golden)
    return policy


def _metadata_text(model: onnx.ModelProto) -> str:
    texts = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    if len(texts) != 1:
        raise ArtifactError(f"the file has {len(texts)} '{METADATA_KEY}' metadata entries instead of one; it is no policy of quadloop")
    return str(texts[0])


def _with_contract(graph: bytes, metadata: ArtifactMetadata, seed: int) -> bytes:
    """The graph's bytes with metadata and golden pairs in place of any older contract."""
    if len(graph) > MAX_BYTES:
        raise ArtifactError(f"the graph is larger than {MAX_BYTES // 2**20} MB")
    check_fits_go1(metadata)
    model = parse(graph)
    check_graph(model, metadata.layout.size)
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    histories = _plausible_histories(metadata.layout, seed)
    mean, std = PolicyArtifact(Path(), "", metadata, _session(graph)).act(histories)
    _check_distribution(mean, std)
    golden = GoldenPairs(histories, mean, np.broadcast_to(std, mean.shape))
    model.metadata_props.add(key=METADATA_KEY, value=to_json(metadata, golden))
    return bytes(model.SerializeToString())


def _plausible_histories(layout: ObservationLayout, seed: int) -> Float32Array:
    """Eight histories (8, 290) of a trotting robot with noise on everything, from a seeded generator."""
    random = np.random.default_rng(seed)
    frames = (GOLDEN_PAIRS, layout.history)
    quaternion = np.array([1.0, 0.0, 0.0, 0.0]) + random.normal(0.0, 0.05, (*frames, 4))
    commands = np.stack([trot_command(*velocity) for velocity in random.uniform(-1.0, 1.0, (GOLDEN_PAIRS, 3))])
    histories = observe(
        gravity_b=projected_gravity(quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)),
        command=np.broadcast_to(commands[:, None], (*frames, commands.shape[-1])),
        joint_pos=go1.DEFAULT_JOINT_POS + random.normal(0.0, 0.2, (*frames, go1.NUM_JOINTS)),
        joint_vel=random.normal(0.0, 3.0, (*frames, go1.NUM_JOINTS)),
        last_action=random.normal(0.0, 1.0, (*frames, go1.NUM_JOINTS)),
        gait_index=random.uniform(0.0, 1.0, frames),
        layout=layout,
    )
    return histories.reshape(GOLDEN_PAIRS, layout.size)


def _session(content: bytes) -> onnxruntime.InferenceSession:
    """A session on one thread: a network this small only loses by sharing, and the control loop keeps its core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    with _errors_on_one_line("onnxruntime refuses the graph"):
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _check_golden(policy: PolicyArtifact, golden: GoldenPairs) -> None:
    """The whole batch and each row alone, as the robot asks, must give what was stored."""
    answers = [policy.act(golden.observation_history)]
    _check_distribution(*answers[0])
    rows = [policy.act(row) for row in golden.observation_history]
    answers.append((np.stack([mean for mean, _ in rows]), np.stack([std for _, std in rows])))
    for mean, std in answers:
        difference = np.abs([mean - golden.action_mean, std - golden.action_std]).max()
        if not difference <= GOLDEN_TOLERANCE:  # written so that NaN is refused
            raise ArtifactError(
                f"the golden pairs differ by {difference:.3g} (at most {GOLDEN_TOLERANCE:g}); the weights are not those exported"
            )


def _check_distribution(mean: Float32Array, std: Float32Array) -> None:
    if mean.shape != (GOLDEN_PAIRS, go1.NUM_JOINTS) or std.shape not in (mean.shape, mean.shape[1:]):
        raise ArtifactError(f"the graph gives a mean of shape {mean.shape} and a std of shape {std.shape} for {GOLDEN_PAIRS} observations")
    if not np.isfinite(mean).all():
        raise ArtifactError("the action mean is not finite on plausible observations")
    if not np.isfinite(std).all():
        raise ArtifactError("the action std is not finite on plausible observations")
    if not (std > 0.0).all():
        raise ArtifactError(f"the action std must be positive; the smallest is {std.min():.3g}")


@contextmanager
def _errors_on_one_line(what: str) -> Iterator[None]:
    """onnxruntime raises bare exceptions of many lines; the first says enough."""
    try:
        yield
    except QuadloopError:
        raise
    except Exception as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArtifactError(f"{what} ({first_line[:200]})") from error


@contextmanager
def _errors_name(path: Path) -> Iterator[None]:
    try:
        yield
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error
