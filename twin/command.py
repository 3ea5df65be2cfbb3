"""`quadloop evaluate`: how well a policy follows a command."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from common.checks import at_least, between, require
from common.command_line import Arguments, parse
from common.errors import UsageError
from common.result import emit
from robot.gait import Gait
from robot.policy.artifact import load_artifact
from twin.evaluate import MAX_SPEED, evaluate, straight_command
from twin.world import find_world


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments(Arguments):
    """Walk a policy under one command, many trials at once, and say how well it went."""

    policy: Path
    """policy artifact (.onnx)"""
    robot: Literal["twin"] = "twin"
    """which robot walks"""
    terrain: str = "flat"
    """flat, mattress, or a YAML file that describes a floor"""
    command: tuple[float, ...] = (0.5,)
    """forward speed (m/s), then sideways speed (m/s) and turning rate (rad/s) if wanted"""
    gait: Gait = field(default_factory=Gait)
    """how it is to walk"""
    trials: int = 20
    """robots that walk"""
    steps: int = 1000
    """control steps of a trial, 50 a second"""
    seed: int = 0
    """draws how the robots start"""

    def __post_init__(self) -> None:
        require(self, between(-MAX_SPEED, MAX_SPEED, "m/s or rad/s"), "command")
        require(self, at_least(1), "trials", "steps")
        if len(self.command) > 3:
            raise UsageError(f"--command is given {len(self.command)} numbers; it takes up to three: forward, sideways, turning")


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
