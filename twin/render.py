"""A walk as a video. Drawing happens in a child process (twin.drawing): a machine without a GL library loses the picture, not the run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.child_process import start_module
from robot import go1
from robot.observation import GO1_LAYOUT, ObservationLayout
from twin.batch import BatchTwin, InitialSpread
from twin.drawing import CANNOT_DRAW
from twin.walkers import Policy, Walkers
from twin.world import World

FRAME_EVERY = 2  # control steps: 25 frames a second
_FPS = round(1 / (go1.CONTROL_DT * FRAME_EVERY))
_TIMEOUT_S = 300
_HINT = " (off-screen pictures need libegl1 and libgl1-mesa-dri, and the 'viz' extra)"


def record_walk(
    policy: Policy, world: World, command: NDArray[np.float64], seed: int, steps: int = 500, layout: ObservationLayout = GO1_LAYOUT
) -> NDArray[np.float64]:
    """Positions (F, 19) of one robot walking with the mean action, one frame every 0.04 s; it goes on after a fall."""
    rng = np.random.default_rng(seed)
    with BatchTwin(world, 1, rng=rng) as twin:
        walkers = Walkers(twin, command[None], layout)
        walkers.reset(np.ones(1, dtype=np.bool_), rng, InitialSpread(yaw_rad=0.0))  # the camera looks along y
        frames = []
        for step in range(steps):
            walkers.walk(policy)
            if step % FRAME_EVERY == 0:
                frames.append(twin.qpos[0].copy())
    return np.array(frames)


def write_video(frames: NDArray[np.float64], path: Path) -> str | None:
    """Draw positions (F, 19) to an .mp4; returns None, or one line that says why there is no video."""
    path.parent.mkdir(parents=True, exist_ok=True)
    poses, partial = path.with_suffix(".poses.npy"), path.with_name(f".{path.name}.mp4")
    try:
        np.save(poses, frames)
        reason = _draw(poses, partial)
        if reason is None:
            os.replace(partial, path)
    finally:
        poses.unlink(missing_ok=True)
        partial.unlink(missing_ok=True)
    return None if reason is None else f"no video {path.name}: {reason}"


def _draw(poses: Path, video: Path) -> str | None:
    """Have the poses drawn; returns None, or why that failed."""
    process = start_module("twin.drawing", [poses.resolve(), video.resolve(), _FPS], output=subprocess.PIPE, complaints=subprocess.DEVNULL)
    try:
        said, _ = process.communicate(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"drawing took longer than {_TIMEOUT_S} s"
    finally:
        with contextlib.suppress(ProcessLookupError):  # the encoder that it started goes with it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode == 0:
        return None
    reason = (said.decode(errors="replace").strip().splitlines() or ["the drawing process died"])[-1]
    return reason + (_HINT if process.returncode == CANNOT_DRAW else "")
