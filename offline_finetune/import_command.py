"""`quadloop import`: the released logs and policies of Uni-O4 as episode logs and policy artifacts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from common.command_line import Arguments, parse
from common.errors import UsageError
from common.result import emit
from offline_finetune.released.file import ReleasedFileError
from offline_finetune.released.logs import import_logs
from offline_finetune.released.policies import import_policy


@dataclass(frozen=True, kw_only=True)
class ImportArguments(Arguments):
    """Turn a released policy (.pt, .npz) into a policy artifact, or a released log or a directory of them into episode logs."""

    source: tyro.conf.Positional[Path]
    """a policy (ac_weights_*.pt or .npz), a log (.hdf5), or a directory of logs"""
    out: Path
    """the artifact (.onnx), or a directory for the episode logs"""
    force: bool = False
    """overwrite what is there"""


def run(arguments: list[str]) -> int:
    """The verb."""
    wanted = parse("import", ImportArguments, arguments)
    if wanted.out.resolve() == wanted.source.resolve() and not wanted.source.is_dir():
        raise UsageError(f"{wanted.out} is what is to be imported; choose another --out")
    if wanted.out.resolve().is_relative_to(wanted.source.resolve()):
        raise UsageError(f"{wanted.out} lies among the logs; what is there is taken for a log")
    emit(_import(wanted), wanted.json)
    return 0


def _import(wanted: ImportArguments) -> dict[str, Any]:
    if wanted.source.is_dir() or wanted.source.suffix == ".hdf5":
        if wanted.out.suffix == ".onnx":
            raise UsageError(f"{wanted.out} is named as a policy is, but {wanted.source} holds logs; --out is a directory for them")
        return asdict(import_logs(wanted.source, wanted.out, wanted.force))
    if wanted.source.suffix not in (".npz", ".pt"):
        raise ReleasedFileError(f"{wanted.source} is no released policy (.pt, .npz), no released log (.hdf5) and no directory of such logs")
    if wanted.out.suffix != ".onnx":
        raise UsageError(f"{wanted.source} becomes a policy; --out is a file that ends in .onnx, not {wanted.out}")
    artifact = import_policy(wanted.source, wanted.out, wanted.force)
    return {"policy": artifact.path, "policy_sha256": artifact.sha256, "stage": artifact.metadata.stage}
