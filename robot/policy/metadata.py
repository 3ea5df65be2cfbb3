"""What a policy artifact says about itself, as JSON, and whether that fits this robot. Every refusal names what does not fit."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from common.array_types import Float32Array
from common.errors import QuadloopError
from robot import go1
from robot.observation import SLOT_17_AUXILIARY, SLOT_17_TIMING, ObservationLayout, ObservationTerm, go1_layout

SCHEMA_VERSION = 1
GOLDEN_PAIRS = 8
GO1_LAYOUTS = (go1_layout(SLOT_17_AUXILIARY), go1_layout(SLOT_17_TIMING))
_MAX_JSON_CHARACTERS = 1_000_000
_MAX_TEXT = 200
_MAX_FLOAT32 = float(np.finfo(np.float32).max)


class ArtifactError(QuadloopError):
    """A policy artifact that cannot be read, does not fit this robot, or does not compute what it promises."""


@dataclass(frozen=True)
class ArtifactMetadata:
    """The contract of one policy. Arrays of length 12 are in the order of `joint_names`."""

    schema_version: int
    robot: str
    joint_names: tuple[str, ...]  # (12,)
    default_joint_pos: tuple[float, ...]  # (12,) rad
    action_scale: tuple[float, ...]  # (12,) rad per unit of action
    kp: float  # N m / rad
    kd: float  # N m s / rad
    control_dt_s: float
    layout: ObservationLayout
    action_clip: float
    stage: str  # which stage made it: "pretrained", "offline", "online", "imported", ...
    parent_sha256: str | None  # of the artifact it was made from
    git_revision: str


@dataclass(frozen=True)
class GoldenPairs:
    """Eight observation histories and what the policy answers to them."""

    observation_history: Float32Array  # (8, 290)
    action_mean: Float32Array  # (8, 12)
    action_std: Float32Array  # (8, 12)


def layout_json(layout: ObservationLayout) -> str:
    """The layout as the JSON text that artifacts and episode logs carry."""
    return json.dumps(asdict(layout))


def layout_from_json(text: str) -> ObservationLayout:
    """The layout in untrusted JSON, as `layout_json` writes it; ArtifactError unless it is one of the Go1's two."""
    layout = _layout(_Fields(_parse(text)))
    _check_layout(layout)
    return layout


def to_json(metadata: ArtifactMetadata, golden: GoldenPairs) -> str:
    """One line of JSON with every float at full precision."""
    pairs = {name: getattr(golden, name).tolist() for name in GoldenPairs.__dataclass_fields__}
    return json.dumps(asdict(metadata) | {"golden": pairs}, allow_nan=False)


def from_json(text: str) -> tuple[ArtifactMetadata, GoldenPairs]:
    """Parse and check untrusted JSON; ArtifactError (without the file's name) says what is wrong with it."""
    fields = _Fields(_parse(text))
    _check_schema(fields.integer("schema_version"))
    metadata = ArtifactMetadata(
        schema_version=SCHEMA_VERSION,
        robot=fields.text("robot"),
        joint_names=fields.texts("joint_names"),
        default_joint_pos=fields.numbers("default_joint_pos"),
        action_scale=fields.numbers("action_scale"),
        kp=fields.number("kp"),
        kd=fields.number("kd"),
        control_dt_s=fields.number("control_dt_s"),
        layout=_layout(fields.object("layout")),
        action_clip=fields.number("action_clip"),
        stage=fields.text("stage"),
        parent_sha256=_parent(fields),
        git_revision=fields.text("git_revision"),
    )
    check_fits_go1(metadata)
    return metadata, _golden(fields.object("golden"), metadata.layout.size)


def check_fits_go1(metadata: ArtifactMetadata) -> None:
    """ArtifactError, naming the first difference, unless the policy was made for this robot."""
    required = {
        "robot": go1.NAME,
        "joint_names": go1.JOINT_NAMES,
        "default_joint_pos": tuple(go1.DEFAULT_JOINT_POS.tolist()),
        "action_scale": tuple(go1.ACTION_SCALE.tolist()),
        "action_clip": go1.ACTION_CLIP,
        "control_dt_s": go1.CONTROL_DT,
    }
    for name, expected in required.items():
        found = getattr(metadata, name)
        if found != expected:
            raise ArtifactError(f"{name} is {_first_difference(found, expected)}; this policy was made for another robot")
    if (metadata.kp, metadata.kd) != (go1.KP, go1.KD):  # the twin and the stages act with exactly these
        found, known = f"kp {metadata.kp:g} and kd {metadata.kd:g}", f"kp {go1.KP:g} and kd {go1.KD:g}"
        raise ArtifactError(f"the gains are {found}; only policies made for {known} are run")
    _check_layout(metadata.layout)


def _check_layout(layout: ObservationLayout) -> None:
    if layout not in GO1_LAYOUTS:
        raise ArtifactError(f"the observation layout ({layout.size} values) is neither of the Go1's two 58 x 5 layouts")


def _first_difference(found: Any, expected: Any) -> str:
    if not isinstance(expected, tuple) or len(found) != len(expected):
        return f"{_shown(found)} instead of {_shown(expected)}"
    index = next(i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b)
    return f"{_shown(found[index])} at position {index} instead of {_shown(expected[index])}"


def _shown(value: Any) -> str:
    return f"{len(value)} values" if isinstance(value, tuple) else repr(value)


def _parse(text: str) -> Any:
    if len(text) > _MAX_JSON_CHARACTERS:
        raise ArtifactError(f"the metadata are {len(text):,} characters long; at most {_MAX_JSON_CHARACTERS:,} are read")
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"the metadata are not valid JSON ({' '.join(str(error).split())})") from error


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _check_schema(version: int) -> None:
    if version > SCHEMA_VERSION:
        raise ArtifactError(f"schema version {version} is newer than the {SCHEMA_VERSION} that this quadloop reads; update quadloop")
    if version != SCHEMA_VERSION:
        raise ArtifactError(f"schema version {version} is unknown; this quadloop reads {SCHEMA_VERSION}")


def _parent(fields: _Fields) -> str | None:
    if fields.value("parent_sha256") is None:
        return None
    parent = fields.text("parent_sha256")
    if len(parent) != 64 or not set(parent) <= set("0123456789abcdef"):
        raise ArtifactError("parent_sha256 is no sha256")
    return parent


def _layout(fields: _Fields) -> ObservationLayout:
    terms = [_Fields(term) for term in fields.list("terms")]
    parsed = tuple(ObservationTerm(term.text("name"), term.integer("size"), term.number("scale")) for term in terms)
    return ObservationLayout(parsed, fields.integer("history"))


def _golden(fields: _Fields, observation_size: int) -> GoldenPairs:
    return GoldenPairs(
        fields.matrix("observation_history", observation_size),
        fields.matrix("action_mean", go1.NUM_JOINTS),
        fields.matrix("action_std", go1.NUM_JOINTS),
    )


class _Fields:
    """Typed reading of an untrusted JSON object; a wrong type is an ArtifactError that names the key."""

    def __init__(self, value: Any) -> None:
        if not isinstance(value, dict):
            raise ArtifactError(f"the metadata hold a {type(value).__name__} where an object belongs")
        self._values = value

    def value(self, key: str) -> Any:
        if key not in self._values:
            raise ArtifactError(f"the metadata lack '{key}'")
        return self._values[key]

    def text(self, key: str) -> str:
        return _text(key, self.value(key))

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(_text(key, item) for item in self.list(key))

    def integer(self, key: str) -> int:
        value = self.value(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
            raise ArtifactError(f"'{key}' is not a whole number in the metadata")
        return value

    def number(self, key: str) -> float:
        return _number(key, self.value(key))

    def numbers(self, key: str) -> tuple[float, ...]:
        return tuple(_number(key, item) for item in self.list(key))

    def list(self, key: str) -> list[Any]:
        value = self.value(key)
        if not isinstance(value, list):
            raise ArtifactError(f"'{key}' is not a list in the metadata")
        return value

    def object(self, key: str) -> _Fields:
        return _Fields(self.value(key))

    def matrix(self, key: str, columns: int) -> Float32Array:
        rows = self.list(key)
        if len(rows) != GOLDEN_PAIRS or any(not isinstance(row, list) or len(row) != columns for row in rows):
            raise ArtifactError(f"golden '{key}' is not {GOLDEN_PAIRS} x {columns} numbers")
        return np.array([[_number(key, item) for item in row] for row in rows], dtype=np.float32)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not value.isprintable():
        raise ArtifactError(f"'{key}' is not a short text in the metadata")
    return value


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MAX_FLOAT32:
        raise ArtifactError(f"'{key}' is not a finite number in the metadata")
    return float(value)
