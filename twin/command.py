"""`quadloop evaluate`: how well a policy follows a command."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.checks import OPEN_SHARE, Rule, require
from common.command_line import parse
from common.result import emit
from robot.observation import COMMAND_NAMES
from robot.policy_artifact import load_artifact
from twin.evaluate import evaluate, straight_command
from twin.world import find_world


@dataclass(frozen=True)
class GaitArguments:
    """How to walk; the defaults are the trot of the robot's logs."""

    gait_frequency: float = 3.0
    """steps of a foot in a second, Hz"""
    gait_duration: float = 0.5
    """share of a cycle that a foot is on the floor"""
    foot_swing_height: float = 0.08
    """apex of a foot's swing above the floor, m"""
    body_height: float = 0.0
    """trunk above its usual height, m"""
    pitch: float = 0.0
    """rad, nose up positive"""
    roll: float = 0.0
    """rad, left side down positive"""

    def __post_init__(self) -> None:
        require(self, Rule("from 0.1 to 10 Hz", lambda value: 0.1 <= value <= 10), "gait_frequency")
        require(self, OPEN_SHARE, "gait_duration")
        require(self, Rule("from -1 to 1", lambda value: -1 <= value <= 1), "foot_swing_height", "body_height", "pitch", "roll")

    def of(self, command: NDArray[np.float64]) -> NDArray[np.float64]:
        """A copy of the command (15,) with this gait and posture."""
        changed = command.copy()
        for gait in fields(self):
            changed[COMMAND_NAMES.index(gait.name)] = getattr(self, gait.name)
        return changed


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments:
    """Walk a policy under one command, many trials at once, and say how well it went."""

    policy: Path
    """policy artifact (.onnx)"""
    robot: Literal["twin"] = "twin"
    """which robot walks"""
    terrain: str = "flat"
    """flat, mattress, or a YAML file that describes a floor"""
    command: tuple[float, ...] = (0.5,)
    """forward speed (m/s), then sideways speed (m/s) and turning rate (rad/s) if wanted"""
    gait: GaitArguments = field(default_factory=GaitArguments)
    """how it is to walk"""
    trials: int = 20
    """robots that walk"""
    steps: int = 1000
    """control steps of a trial, 50 a second"""
    seed: int = 0
    """draws how the robots start"""
    json: bool = False
    """print one JSON object and nothing else"""


def run(arguments: list[str]) -> int:
    """The verb."""
    wanted = parse("evaluate", EvaluateArguments, arguments)
    emit(measure(wanted), wanted.json)
    return 0


def measure(wanted: EvaluateArguments) -> dict[str, Any]:
    """The verb's result."""
    artifact = load_artifact(wanted.policy)
    world = find_world(wanted.terrain)
    command = wanted.gait.of(straight_command(*wanted.command))
    trials = evaluate(artifact, world, command, wanted.trials, wanted.seed, wanted.steps, artifact.metadata.layout)
    return trials.summary(wanted.steps) | {
        "policy_sha256": artifact.sha256, "seed": wanted.seed, "terrain": world.name,
        "command": list(wanted.command), "gait": asdict(wanted.gait),
    }  # fmt: skip
