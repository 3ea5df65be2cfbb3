"""A walk as a video. Drawing happens in a child process: a machine without a GL library then loses the picture, not the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from robot import go1
from robot.observation import GO1_LAYOUT, ObservationLayout
from twin.batch import BatchTwin, InitialSpread
from twin.evaluate import Policy, Walkers
from twin.world import FLAT, World

FRAME_EVERY = 2  # control steps: 25 frames a second
WIDTH, HEIGHT = 320, 240
_TIMEOUT_S = 300


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
            action = np.clip(policy.act(walkers.observe())[0], -go1.ACTION_CLIP, go1.ACTION_CLIP)
            walkers.act(action)
            walkers.last_action = action.astype(np.float64)
            if step % FRAME_EVERY == 0:
                frames.append(twin.qpos[0].copy())
    return np.array(frames)


def write_video(frames: NDArray[np.float64], path: Path) -> str | None:
    """Draw positions (F, 19) to an .mp4; returns None, or one line that says why there is no video."""
    path.parent.mkdir(parents=True, exist_ok=True)
    poses = path.with_suffix(".poses.npy")
    np.save(poses, frames)
    command = [sys.executable, "-m", "twin.render", str(poses), str(path)]
    environment = os.environ | ({"MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl")} if sys.platform == "linux" else {})
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no video {path.name}: drawing took longer than {_TIMEOUT_S} s"
    finally:
        poses.unlink(missing_ok=True)
    if done.returncode == 0:
        return None
    reason = (done.stderr.strip().splitlines() or ["the drawing process died"])[-1]
    return f"no video {path.name}: {reason} (off-screen pictures need libegl1 and libgl1-mesa-dri, and the 'viz' extra)"


def _draw(poses: Path, path: Path) -> None:
    import imageio.v2 as imageio
    import mujoco

    from twin.model import build_model

    model = build_model(FLAT)  # floors look alike
    data = mujoco.MjData(model)
    partial = path.with_name(f".{path.name}.mp4")
    fps = round(1 / (go1.CONTROL_DT * FRAME_EVERY))
    with mujoco.Renderer(model, HEIGHT, WIDTH) as renderer, cast(Any, imageio.get_writer(partial, fps=fps, macro_block_size=16)) as writer:
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0  # most of the cost where there is no graphics card
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        for qpos in np.load(poses):
            data.qpos[:] = qpos
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera="side")
            writer.append_data(renderer.render())
    os.replace(partial, path)


if __name__ == "__main__":
    _draw(Path(sys.argv[1]), Path(sys.argv[2]))
