"""`quadloop pretrain`: a walking policy from simulation alone."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from common.command_line import RunArguments, Settings, parse
from common.reporter import Reporter
from common.result import emit
from common.run_directory import RunDirectory
from sim_pretrain.backend import make_environment
from sim_pretrain.config import MEASURED_PRESETS, MeasuredConfig, PretrainConfig
from sim_pretrain.pretrain import pretrain
from sim_pretrain.report import write_report
from sim_pretrain.reward import PenaltyWeights
from sim_pretrain.sanity import AGENTS, refuse_dead_terms, watch


@dataclass(frozen=True, kw_only=True)
class PretrainArguments(RunArguments):
    """Train a walking policy in simulation by PPO; writes policy.onnx and report/index.html."""

    check: bool = False
    """train and write nothing: let agents that know nothing walk, print what each reward term does, fail if one never moves"""
    config: Settings[MeasuredConfig] = field(default_factory=MeasuredConfig)


def run(arguments: list[str]) -> int:
    """The verb."""
    wanted = parse("pretrain", PretrainArguments, arguments, MEASURED_PRESETS)
    if wanted.check:
        emit(_check(wanted), wanted.json)
        return 0
    began = time.monotonic()
    run_directory = RunDirectory(wanted.out, wanted.config, inputs={"seed": wanted.seed}, resume=wanted.resume, force=wanted.force)
    with run_directory as directory:
        with Reporter(directory.metrics) as report:
            artifact = pretrain(wanted.config, wanted.seed, wanted.out, report)
        result = {"policy": artifact.path, "policy_sha256": artifact.sha256, "seconds": time.monotonic() - began}
        if wanted.config.measure.trials:
            result |= {"walk": write_report(wanted.out, artifact, wanted.config.measure), "report": wanted.out / "report" / "index.html"}
    emit(result, wanted.json)
    return 0


def _check(wanted: PretrainArguments) -> dict[str, Any]:
    """What the terms did; nothing is written to the run's directory."""
    watched = []
    with tempfile.TemporaryDirectory() as directory:
        for agent in AGENTS:
            environment = make_environment(wanted.config, wanted.seed, Path(directory))
            try:
                watched += watch(environment, agent, wanted.seed)
            finally:
                environment.close()
    refuse_dead_terms(watched, _terms(wanted.config))
    return {agent: {one.name: {"mean": one.mean, "std": one.std} for one in watched if one.agent == agent} for agent in AGENTS}


def _terms(config: PretrainConfig) -> frozenset[str]:
    """What must be there and move: all that is switched on. What a task of isaacgym rewards, it alone knows."""
    if config.backend == "isaacgym":
        return frozenset({"reward"})
    weights = config.environment.penalties
    switched_on = {penalty.name for penalty in fields(PenaltyWeights) if getattr(weights, penalty.name)}
    return frozenset(switched_on | {"reward", "track_lin_vel", "track_ang_vel"})
