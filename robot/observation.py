"""What the policy sees: 58 values a step, five steps of history; the same lines for one robot and for thousands.

Every function takes any leading batch shape. Layout, scales and history length are data and travel with the policy
(source: Uni-O4's released robot logs, which follow Walk These Ways).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.array_types import FloatArray
from robot import go1
from robot.command import COMMAND_NAMES, COMMAND_SIZE, Slot

COMMAND_SCALES = (2.0, 2.0, 0.25, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.15, 0.3, 0.3, 1.0, 1.0, 1.0)

# Meaning of the last command slot: a constant 0 in the released policies, the gait's timing reference in the paper's text.
SLOT_17_AUXILIARY = "auxiliary"
SLOT_17_TIMING = "timing_reference"


@dataclass(frozen=True)
class ObservationTerm:
    """One named stretch of the observation frame: `size` values multiplied by `scale`."""

    name: str
    size: int
    scale: float


@dataclass(frozen=True)
class ObservationLayout:
    """Names, sizes and scales of one frame, and how many frames the policy sees (oldest first)."""

    terms: tuple[ObservationTerm, ...]
    history: int

    @property
    def frame_size(self) -> int:
        """Values in one frame."""
        return sum(term.size for term in self.terms)

    @property
    def size(self) -> int:
        """Values in the flattened history that the policy takes."""
        return self.frame_size * self.history

    @cached_property
    def scales(self) -> NDArray[np.float64]:
        """Scale of each value of a frame, (frame_size,), read-only."""
        scales = np.concatenate([np.full(term.size, term.scale) for term in self.terms])
        scales.flags.writeable = False
        return scales

    def slice_of(self, name: str) -> slice:
        """Where the term `name` stands in a frame; KeyError if the layout has none."""
        start = 0
        for term in self.terms:
            if term.name == name:
                return slice(start, start + term.size)
            start += term.size
        raise KeyError(f"the observation layout has no term '{name}'")

    @cached_property
    def has_timing(self) -> bool:
        """Whether slot 17 is the gait's timing reference (SLOT_17_TIMING)."""
        return self.has(f"command/{SLOT_17_TIMING}")

    def has(self, name: str) -> bool:
        """Whether a term of this name is in the frame."""
        return any(term.name == name for term in self.terms)


def go1_layout(slot_17: str = SLOT_17_AUXILIARY) -> ObservationLayout:
    """The 58 x 5 layout of the Go1 policies; `slot_17` names the meaning of the last command slot."""
    if slot_17 not in (SLOT_17_AUXILIARY, SLOT_17_TIMING):
        raise ValueError(f"slot 17 is '{SLOT_17_AUXILIARY}' or '{SLOT_17_TIMING}', not '{slot_17}'")
    commands = zip((*COMMAND_NAMES[:-1], slot_17), COMMAND_SCALES, strict=True)
    terms = (
        ObservationTerm("projected_gravity", 3, 1.0),
        *(ObservationTerm(f"command/{name}", 1, scale) for name, scale in commands),
        ObservationTerm("joint_pos", go1.NUM_JOINTS, 1.0),
        ObservationTerm("joint_vel", go1.NUM_JOINTS, 0.05),
        ObservationTerm("last_action", go1.NUM_JOINTS, 1.0),
        ObservationTerm("clock", len(go1.LEGS), 1.0),
    )
    return ObservationLayout(terms, history=5)


GO1_LAYOUT = go1_layout()
COMMAND_SLICE = slice(3, 3 + COMMAND_SIZE)


def advance_gait(gait_index: FloatArray, command: FloatArray, dt_s: float = go1.CONTROL_DT) -> FloatArray:
    """Gait index (...) in [0, 1) one control step later, g <- (g + dt f) mod 1."""
    return np.asarray((gait_index + dt_s * command[..., Slot.GAIT_FREQUENCY]) % 1.0)


_PHASE_SHIFTS = np.array([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]])  # of FL FR RL RR by phase, offset, bound


def foot_phases(gait_index: FloatArray, command: FloatArray) -> FloatArray:
    """Phase of each foot (..., 4), FL FR RL RR, in [0, 1): stance below 0.5, swing above (Walk These Ways).

    FL g + phase + offset + bound, FR g + offset, RL g + bound, RR g + phase; warped so that stance takes the share `duration`.
    """
    raw = (gait_index[..., None] + command[..., Slot.GAIT_PHASE : Slot.GAIT_DURATION] @ _PHASE_SHIFTS) % 1.0
    duration = command[..., Slot.GAIT_DURATION, None]
    share = np.minimum(np.maximum(duration, 1e-3), 1 - 1e-3)  # np.clip takes several times as long for one robot
    return np.asarray(np.where(raw < share, 0.5 * raw / share, 0.5 + 0.5 * (raw - share) / (1 - share)))


def observe(
    gravity_b: FloatArray,
    command: FloatArray,
    joint_pos: FloatArray,
    joint_vel: FloatArray,
    last_action: FloatArray,
    gait_index: FloatArray,
    layout: ObservationLayout = GO1_LAYOUT,
) -> NDArray[np.float32]:
    """One frame (..., 58) float32, scaled. Inputs: (..., 3), (..., 15) unscaled, (..., 12) rad, rad/s, action, and (...)."""
    if layout.has_timing:
        command = np.concatenate([command[..., :-1], gait_index[..., None]], axis=-1)
    clock = np.sin(2 * np.pi * foot_phases(gait_index, command))
    clipped = np.minimum(np.maximum(last_action, -go1.ACTION_CLIP), go1.ACTION_CLIP)
    frame = np.concatenate([gravity_b, command, joint_pos - go1.DEFAULT_JOINT_POS, joint_vel, clipped, clock], axis=-1)
    return np.asarray(frame * layout.scales, dtype=np.float32)


class ObservationHistory:
    """The last frames of a batch of robots, (*batch, history, frame_size) float32, oldest first; zeros before the first frame."""

    def __init__(self, batch_shape: tuple[int, ...] = (), layout: ObservationLayout = GO1_LAYOUT) -> None:
        self.frames = np.zeros((*batch_shape, layout.history, layout.frame_size), dtype=np.float32)

    def reset(self, where: Any = ...) -> None:
        """Forget the frames of the robots selected by `where` (an index or mask over the batch)."""
        self.frames[where] = 0.0

    def push(self, frame: NDArray[np.float32]) -> NDArray[np.float32]:
        """Append frames (*batch, frame_size); returns the history of all robots, a view valid until the next push."""
        self.frames[..., :-1, :] = self.frames[..., 1:, :]
        self.frames[..., -1, :] = frame
        return self.frames
