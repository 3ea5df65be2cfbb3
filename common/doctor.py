"""`quadloop doctor`: what is installed and what is missing, for each stage."""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import importlib.util
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from common.command_line import Arguments, parse
from common.extras import BY_HAND, EXTRAS
from common.result import emit
from common.revision import git_revision


@dataclass(frozen=True, kw_only=True)
class DoctorArguments(Arguments):
    """Say what is installed and what is missing for each stage, and how to install it."""


@dataclass(frozen=True)
class Stage:
    """What a stage needs beyond the base installation."""

    packages: tuple[str, ...] = ()
    """by the name that Python imports"""
    libraries: tuple[str, ...] = ()
    """shared libraries of the system"""


BASE = ("numpy", "h5py", "onnx", "onnxruntime", "tyro", "rich", "yaml")
STAGES = {
    "robot": Stage(BASE),
    "twin": Stage(EXTRAS["sim"]),
    "pretrain": Stage(EXTRAS["sim"] + EXTRAS["learn"]),
    "finetune": Stage(EXTRAS["sim"] + EXTRAS["learn"]),
    "online": Stage(EXTRAS["sim"] + EXTRAS["learn"]),
    "d4rl": Stage(EXTRAS["learn"] + EXTRAS["d4rl"]),
    "sweep": Stage(EXTRAS["sweep"]),
    "pictures": Stage(EXTRAS["sim"] + EXTRAS["viz"], libraries=("EGL",)),
    "ros": Stage(EXTRAS["ros"]),
    "go1": Stage(("robot_interface",)),
    "t265": Stage(("pyrealsense2",)),
    "isaacgym": Stage(("isaacgym",)),
}


def run(arguments: list[str]) -> int:
    """The verb. Missing parts are no failure: exit status 0."""
    wanted = parse("doctor", DoctorArguments, arguments)
    report = examine()
    emit(report if wanted.json else _for_people(report), wanted.json)
    return 0


def examine() -> dict[str, Any]:
    """`{"quadloop", "revision", "python", "stages": {stage: {"ready", "installed", "missing"}}}`.

    `installed` maps packages to versions and libraries to files, `missing` maps names to how to get them.
    """
    stages = {name: _examine_stage(stage) for name, stage in STAGES.items()}
    return {"quadloop": version_of("quadloop"), "revision": git_revision(), "python": platform.python_version(), "stages": stages}


def _examine_stage(stage: Stage) -> dict[str, Any]:
    installed = {package: version_of(package) for package in stage.packages if importlib.util.find_spec(package) is not None}
    installed |= {library: file for library in stage.libraries if (file := ctypes.util.find_library(library))}
    missing = {name: _how_to_install(name) for name in stage.packages + stage.libraries if name not in installed}
    return {"ready": not missing, "installed": installed, "missing": missing}


def version_of(package: str) -> str:
    """The version of the distribution that brings `package`, "unknown" for what no distribution brings."""
    for distribution in _distributions().get(package, [package]):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


@cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _how_to_install(name: str) -> str:
    if name in BY_HAND:
        return BY_HAND[name]
    extra = next((extra for extra, packages in EXTRAS.items() if name in packages), None)
    return f"pip install 'quadloop[{extra}]'" if extra else "pip install quadloop"


def _for_people(report: dict[str, Any]) -> dict[str, Any]:
    rows = {name: value for name, value in report.items() if name != "stages"}
    for name, stage in report["stages"].items():
        rows[name] = "ready: " + _listed(stage["installed"]) if stage["ready"] else "missing: " + _listed(stage["missing"])
    return rows


def _listed(names: dict[str, str]) -> str:
    return ", ".join(f"{name} ({remark})" for name, remark in names.items())
