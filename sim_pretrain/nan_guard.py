"""What is kept of a robot whose physics blew up: one control period in a JSON file, to be played again step by step.

python -m sim_pretrain.nan_guard FILE
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from common.config import merged
from common.errors import ConfigError, QuadloopError
from common.files import write_json
from robot import go1
from twin.batch import BatchTwin
from twin.model import build_model
from twin.world import FLAT, World, WorldError

MAX_DUMPS = 10  # of a run, resumed or not: what blows up once blows up a thousand times
_MAX_BYTES = 1_000_000


class NanGuardError(QuadloopError):
    """A file that is no dump of ours."""


class NanGuard:
    """Writes OUT/diverged/step_S_robot_R.json for the first robots that diverge; nothing without a directory."""

    def __init__(self, directory: Path | None, worlds: list[World]) -> None:
        self.directory = directory
        self.worlds = worlds
        self._dumped = len(list(directory.glob("*.json"))) if directory is not None else 0

    def note(self, twin: BatchTwin, step: int) -> None:
        """Take account of the robots that have diverged in this control step."""
        for robot in np.flatnonzero(twin.diverged):
            if self.directory is not None and self._dumped < MAX_DUMPS:
                self._dump(self.directory, twin, int(robot), step)
                self._dumped += 1

    def _dump(self, directory: Path, twin: BatchTwin, robot: int, step: int) -> None:
        state, control = twin.transition(robot)
        content = {
            "world": asdict(self.worlds[twin.variant[robot]]), "state": state.tolist(),
            "control": [[value if math.isfinite(value) else None for value in row] for row in control.tolist()],
            "step": step, "robot": robot, "mujoco": mujoco.__version__,
        }  # fmt: skip
        write_json(directory / f"step_{step}_robot_{robot}.json", content)


def replay(path: Path) -> list[dict[str, Any]]:
    """Play a dumped control period again: a row for each physics step, with the largest position, speed and acceleration.

    Rows end with the step in which a number stops being finite or `unstable` in the engine's judgement. NanGuardError for another file.
    """
    model, state, control = _read(path)
    data = mujoco.MjData(model)
    mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    rows = []
    for k in range(go1.DECIMATION):
        data.ctrl[:] = control[k]
        mujoco.mj_step(model, data)
        unstable = any(warning.number for warning in data.warning)
        worst = int(np.argmax(np.where(np.isfinite(data.qacc), np.abs(data.qacc), np.inf)))
        rows.append(
            {
                "physics_step": k, "qpos": _largest(data.qpos), "qvel": _largest(data.qvel), "qacc": _largest(data.qacc),
                "worst": "trunk" if worst < 6 else go1.JOINT_NAMES[worst - 6], "contacts": int(data.ncon), "unstable": unstable,
            }
        )  # fmt: skip
        if unstable:
            break
    return rows


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values).max())


def _read(path: Path) -> tuple[mujoco.MjModel, np.ndarray, np.ndarray]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise NanGuardError(f"{path} is larger than {_MAX_BYTES} bytes; no dump is")
        content = json.loads(path.read_bytes())
        model = build_model(merged(FLAT, content["world"], ""))
        state, control = np.array(content["state"], dtype=np.float64), np.array(content["control"], dtype=np.float64)
        if state.shape != (mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS),) or control.shape != (go1.DECIMATION, 12):
            raise ValueError
    except OSError as error:
        raise NanGuardError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, ConfigError, WorldError) as error:
        raise NanGuardError(f"{path} is no dump of a robot that diverged") from error
    return model, state, control


def main() -> int:
    """Print the rows."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        for row in replay(Path(sys.argv[1])):
            print(json.dumps(row))
    except NanGuardError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
