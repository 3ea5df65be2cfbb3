"""`quadloop finetune`: a better policy from robot logs, with the evidence, and both policies side by side on the twin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.checks import at_least, require
from common.command_line import RunArguments, Settings, parse
from common.files import write_json
from common.reporter import Reporter
from common.result import emit
from common.run_directory import RunDirectory
from loop.inputs import load_trainable, sha256_of_files
from offline_finetune.config import PRESETS, FinetuneConfig
from offline_finetune.dataset import build_dataset
from offline_finetune.finetune import check_fit, finetune
from offline_finetune.report import said_by_estimates, write_report
from robot.log.episode_log import EpisodeLogError, list_episodes
from robot.policy.artifact import load_artifact
from twin.evaluate import evaluate, straight_command
from twin.world import World, files_of_world, find_world


@dataclass(frozen=True, kw_only=True)
class FinetuneArguments(RunArguments):
    """Fine-tune a policy from episode logs without the robot; writes policy.onnx, evidence.json and report/index.html."""

    policy: Path
    """the policy artifact that the improvement starts from"""
    logs: Path
    """directory of episode logs"""
    terrain: str = "mattress"
    """floor of the twin on which the old and the new policy are compared"""
    trials: int = 20
    """trials of that comparison"""
    trial_steps: int = 1000
    """control steps of a trial, 50 a second"""
    config: Settings[FinetuneConfig] = field(default_factory=FinetuneConfig)

    def __post_init__(self) -> None:
        require(self, at_least(1), "trials", "trial_steps")


STAGE = "finetune"
COMPARED_COMMANDS = (0.5, 0.8)  # m/s


def run(arguments: list[str]) -> int:
    """The verb."""
    wanted = parse("finetune", FinetuneArguments, arguments, PRESETS)
    policy = load_trainable(wanted.policy)  # all that can be refused, before anything is written
    world = find_world(wanted.terrain)
    logs = list_episodes(wanted.logs, unfinished=True)
    if not logs:
        raise EpisodeLogError(f"{wanted.logs}: no episode log (.hdf5) in this folder or below")
    dataset = build_dataset(logs, wanted.config.holdout_share, wanted.seed)
    check_fit(policy, dataset, wanted.config)
    inputs = {
        "seed": wanted.seed, "policy_sha256": policy.sha256, "logs_sha256": sha256_of_files(wanted.logs, logs), "terrain": world,
        "trials": wanted.trials, "trial_steps": wanted.trial_steps,
    }  # fmt: skip
    sources = [wanted.policy, *files_of_world(wanted.terrain), *logs]  # each log: a folder of logs may be a link
    run_directory = RunDirectory(wanted.out, wanted.config, inputs=inputs, sources=sources, resume=wanted.resume, force=wanted.force)
    with run_directory as directory:
        with Reporter(directory.metrics) as report:
            result = finetune(wanted.policy, dataset, wanted.out, wanted.config, wanted.seed, report)
        taken = directory.stage_result(STAGE) or {"seconds": result.evidence["seconds"]}  # by whoever finished it
        evidence = result.evidence | {"twin": _compare(wanted, world, result.policy)} | taken
        write_json(wanted.out / "evidence.json", evidence)
        page = write_report(wanted.out, evidence)
        directory.mark_stage_done(STAGE, taken)
    if wanted.json:
        shown = evidence | {"gate": {name: evidence["gate"][name] for name in ("accepted", "rejected", "accepted_steps")}, "report": page}
        emit(shown, as_json=True)
    else:
        emit(_in_short(evidence) | {"policy": result.policy, "evidence": wanted.out / "evidence.json", "report": page}, as_json=False)
    return 0


def _in_short(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """What somebody must know before the policy goes onto a robot."""
    twin = evidence["twin"]
    walked = {
        f"on {twin['terrain']} at {vx} m/s": f"return {before['return']['mean']:.1f} -> {after['return']['mean']:.1f}, "
        f"falls {before['falls']} -> {after['falls']} of {after['trials']}"
        for (vx, before), after in zip(twin["old"].items(), twin["new"].values(), strict=True)
    }
    return {"verdict": evidence["verdict"]} | said_by_estimates(evidence) | walked


def _compare(wanted: FinetuneArguments, world: World, new: Path) -> dict[str, Any]:
    """Old and new policy on the twin, the same starts for both."""
    comparison: dict[str, Any] = {"terrain": world.name}
    for name, path in (("old", wanted.policy), ("new", new)):
        artifact = load_artifact(path)
        comparison[name] = {}
        for vx in COMPARED_COMMANDS:
            command, steps = straight_command(vx), wanted.trial_steps
            trials = evaluate(artifact, world, command, wanted.trials, wanted.seed, steps, artifact.metadata.layout)
            comparison[name][f"{vx:g}"] = trials.summary(steps)
    return comparison
