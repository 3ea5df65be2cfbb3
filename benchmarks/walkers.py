"""How well pretrained policies walk, beside a reference on the same twin. Prints JSON.

python benchmarks/walkers.py --reference runs/sim_000300.onnx POLICY [POLICY ...]

Each policy walks every command of sim_pretrain.report.COMMANDS on flat ground, 50 trials of 1,000 steps with the mean action. `meets` says
for each policy and command whether the speed is within 10 % of the command, gait frequency and duty factor are too, nobody fell, and the
return of Table 3 (tracking, torque, joint speed and acceleration, smoothness) is at least the reference's. `gaits` says how far other
commanded gaits are followed at GAIT_SPEED.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from robot.gait import Gait
from robot.policy.artifact import PolicyArtifact, load_artifact
from sim_pretrain.report import MeasureConfig, measure
from twin.evaluate import evaluate, straight_command
from twin.world import FLAT

GAIT_FREQUENCY, DUTY_FACTOR = 3.0, 0.5  # of the commanded trot
TOLERANCE = 0.1
GAIT_SPEED = 0.8  # m/s
GAITS = (
    Gait(gait_frequency=2.5), Gait(gait_frequency=3.5), Gait(gait_duration=0.45),
    Gait(gait_duration=0.6),
)  # fmt: skip
SHOWN = ("return", "forward_speed", "sideways_speed", "turning_rate", "gait_frequency", "duty_factor", "torque", "power", "action_rate")


def meets(result: dict[str, Any], reference: dict[str, Any]) -> dict[str, bool]:
    """One command's criteria."""
    return {
        "speed": result["speed_error_share"] < TOLERANCE,
        "falls": result["falls"] == 0,
        "gait_frequency": abs(result["gait_frequency"]["mean"] / GAIT_FREQUENCY - 1) < TOLERANCE,
        "duty_factor": abs(result["duty_factor"]["mean"] / DUTY_FACTOR - 1) < TOLERANCE,
        "return": result["return"]["mean"] >= reference["return"]["mean"],
        "torque": result["torque"]["mean"] <= reference["torque"]["mean"],
        "power": result["power"]["mean"] <= reference["power"]["mean"],
        "action_rate": result["action_rate"]["mean"] <= reference["action_rate"]["mean"],
    }


def summary(result: dict[str, Any]) -> dict[str, Any]:
    """One command's figures, means alone."""
    means = {name: round(result[name]["mean"], 4) for name in SHOWN}
    return means | {"speed_error_share": round(result["speed_error_share"], 4), "falls": result["falls"], "trials": result["trials"]}


def follow_gaits(policy: PolicyArtifact, config: MeasureConfig) -> list[dict[str, float]]:
    """Commanded and measured gait frequency (Hz) and duty factor of each of GAITS."""
    rows = []
    for gait in GAITS:
        command = gait.of(straight_command(GAIT_SPEED))
        trials = evaluate(policy, FLAT, command, config.trials, config.seed, config.steps, policy.metadata.layout)
        rows.append(
            {
                "gait_frequency_commanded": gait.gait_frequency, "gait_frequency": round(float(trials.gait_frequency.mean()), 4),
                "gait_duration_commanded": gait.gait_duration, "duty_factor": round(float(trials.duty_factor.mean()), 4),
                "forward_speed": round(float(trials.forward_speed.mean()), 4), "falls": int(trials.fell.sum()),
            }
        )  # fmt: skip
    return rows


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policies", type=Path, nargs="+")
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=MeasureConfig().seed)
    wanted = parser.parse_args()
    config = MeasureConfig(trials=wanted.trials, seed=wanted.seed)
    policies = {path: load_artifact(path) for path in (wanted.reference, *wanted.policies)}
    results = {path: measure(policy, config) for path, policy in policies.items()}
    reference = results[wanted.reference]
    verdicts = {
        str(path): {command: meets(result, reference[command]) for command, result in results[path].items()} for path in wanted.policies
    }
    shown = {str(path): {command: summary(result) for command, result in one.items()} for path, one in results.items()}
    all_met = all(met for policy in verdicts.values() for command in policy.values() for met in command.values())
    gaits = {str(path): follow_gaits(policy, config) for path, policy in policies.items()}
    print(json.dumps({"seed": wanted.seed, "policies": shown, "meets": verdicts, "all_met": all_met, "gaits": gaits}))


if __name__ == "__main__":
    main()
