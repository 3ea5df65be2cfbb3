"""`quadloop evaluate`: how well a policy follows a command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.command_line import parse
from common.result import emit
from robot.policy_artifact import load_artifact
from twin.evaluate import evaluate, straight_command
from twin.terrain import find_terrain


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
    terrain = find_terrain(wanted.terrain)
    trials = evaluate(
        artifact, terrain, straight_command(*wanted.command), wanted.trials, wanted.seed, wanted.steps, artifact.metadata.layout
    )
    return trials.summary(wanted.steps) | {
        "policy_sha256": artifact.sha256, "seed": wanted.seed, "terrain": terrain.name, "command": list(wanted.command),
    }  # fmt: skip
