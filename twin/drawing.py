"""The process that draws a video: python -m twin.drawing POSES VIDEO FPS. Its last line on standard output says why it failed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CANNOT_DRAW = 3  # exit status: a library that pictures need is missing, or finds nothing to draw on
WIDTH, HEIGHT = 320, 240


def main() -> int:
    """Draw; returns the exit status."""
    poses, video, fps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    status = CANNOT_DRAW
    try:
        renderer, data, open_writer = _tools()
        status = 1
        with renderer, open_writer(video, fps=fps, macro_block_size=16) as writer:
            for qpos in np.load(poses):
                writer.append_data(_picture(renderer, data, qpos))
    except Exception as error:  # whatever it is, the run goes on without the video
        print(" ".join(f"{type(error).__name__}: {error}".split()), flush=True)
        return status
    return 0


def _tools() -> tuple[Any, Any, Any]:
    """mujoco's renderer of one robot, the robot's data, and what opens a video: all that a machine may lack."""
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")  # which mujoco reads when it is imported
    import imageio.v2 as imageio
    import imageio_ffmpeg  # noqa: F401 - imageio looks for it only when it writes
    import mujoco

    from twin.model import build_model
    from twin.world import FLAT

    model = build_model(FLAT)  # floors look alike
    renderer = mujoco.Renderer(model, HEIGHT, WIDTH)
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0  # most of the cost where there is no graphics card
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
    return renderer, mujoco.MjData(model), imageio.get_writer


def _picture(renderer: Any, data: Any, qpos: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The robot at qpos (19,), (HEIGHT, WIDTH, 3)."""
    import mujoco

    data.qpos[:] = qpos
    mujoco.mj_forward(data.model, data)
    renderer.update_scene(data, camera="side")
    return np.asarray(renderer.render())


if __name__ == "__main__":
    sys.exit(main())
