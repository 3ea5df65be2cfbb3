"""A task of legged_gym in isaacgym, for serve.py. Needs isaacgym Preview 4 and legged_gym in the worker's own interpreter."""

from __future__ import annotations

import sys
from typing import Any


def make(options: dict[str, Any]) -> Any:
    """The environment that legged_gym registered as options["task"]."""
    import isaacgym  # type: ignore[import-not-found]  # noqa: F401 - must come before torch
    import legged_gym.envs  # type: ignore[import-not-found]  # noqa: F401 - registers the tasks
    from legged_gym.utils import get_args, task_registry  # type: ignore[import-not-found]

    # legged_gym reads its settings from the command line.
    sys.argv = ["quadloop", "--task", options["task"], "--headless", "--num_envs", str(options["num_envs"]), "--seed", str(options["seed"])]
    env, _ = task_registry.make_env(name=options["task"], args=get_args())
    return env
