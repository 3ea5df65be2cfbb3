"""`quadloop inspect`: what is in a policy artifact, a log, or a directory of logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from common.command_line import Arguments, parse
from common.errors import QuadloopError, UsageError
from common.files import refuse_to_fill
from common.result import emit, print_table
from offline_finetune.inspect_report import EPISODES, session_rows, write_report
from offline_finetune.inspection import inspect_episode, remarks, summarise
from offline_finetune.readable_log import logs_below, read_log
from robot.policy.artifact import PolicyArtifact, load_artifact, load_by_name


@dataclass(frozen=True, kw_only=True)
class InspectArguments(Arguments):
    """Say what is in a policy artifact (.onnx), an episode log or released recording (.hdf5), or a directory of such logs."""

    source: tyro.conf.Positional[Path]
    """what to look into"""
    policies: tuple[Path, ...] = ()
    """policy artifacts; of each episode is said which of them drove the robot, if any"""
    out: Path | None = None
    """directory for index.html with pictures, and episodes.json with every episode"""
    force: bool = False
    """overwrite the page that is there"""


def run(arguments: list[str]) -> int:
    """The verb."""
    wanted = parse("inspect", InspectArguments, arguments)
    if wanted.source.suffix == ".onnx":
        if wanted.policies or wanted.out is not None:
            raise UsageError("--policies and --out are for logs; a policy is inspected alone")
        emit(inspect_policy(load_artifact(wanted.source)), wanted.json)
        return 0
    if wanted.out is not None:
        refuse_to_fill(wanted.out, ("index.html", EPISODES), wanted.force)
    found = inspect_logs(wanted.source, load_by_name(wanted.policies))
    if wanted.out is not None:
        found["report"] = str(write_report(wanted.out, found))
    if wanted.json:
        emit(found if wanted.source.is_file() else {name: part for name, part in found.items() if name != "files"}, as_json=True)
    else:
        _print(found)
    return 0


def inspect_policy(artifact: PolicyArtifact) -> dict[str, Any]:
    """What an artifact says about itself."""
    metadata = artifact.metadata
    std = artifact.act(np.zeros(metadata.layout.size, dtype=np.float32))[1]
    return {
        "policy": artifact.path, "sha256": artifact.sha256, "stage": metadata.stage, "parent_sha256": metadata.parent_sha256,
        "git_revision": metadata.git_revision or None, "robot": metadata.robot, "control_dt_s": metadata.control_dt_s,
        "kp": metadata.kp, "kd": metadata.kd, "action_clip": metadata.action_clip, "history": metadata.layout.history,
        "frame_size": metadata.layout.frame_size, "std_at_rest": float(std.mean()),
    }  # fmt: skip


def inspect_logs(source: Path, policies: Mapping[str, PolicyArtifact]) -> dict[str, Any]:
    """Every log at or below `source`, by file, by session and in all; a damaged one in a directory is named under `unreadable`."""
    files: dict[str, list[dict[str, Any]]] = {}
    unreadable: dict[str, str] = {}
    for path in logs_below(source):
        try:
            files[path.name if path == source else path.relative_to(source).as_posix()] = [
                inspect_episode(episode, policies) for episode in read_log(path, source)
            ]
        except QuadloopError as error:
            if path == source:
                raise
            unreadable[path.relative_to(source).as_posix()] = str(error)
    found = [episode for episodes in files.values() for episode in episodes]
    if not found:
        raise QuadloopError(f"{source}: none of its {len(unreadable)} logs can be read; first: {next(iter(unreadable.values()), 'none')}")
    sessions = sorted({episode["session"] for episode in found})
    return {
        "source": source,
        "total": summarise(found),
        "sessions": {name: summarise([episode for episode in found if episode["session"] == name]) for name in sessions},
        "remarks": remarks(found),
        "unreadable": unreadable,
        "files": files,
    }


def _print(found: Mapping[str, Any]) -> None:
    header, *rows = session_rows(found)
    print_table(header, rows)
    for line in (*found["remarks"], *found["unreadable"].values()):
        print(line)
    if "report" in found:
        print(f"report: {found['report']}")
