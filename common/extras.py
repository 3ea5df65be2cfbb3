"""Which optional part of the installation brings which package, and how to come by what none of them can bring."""

from __future__ import annotations

from common.errors import MissingExtraError

EXTRAS = {
    "sim": ("mujoco", "scipy"),
    "learn": ("torch", "tensorboard"),
    "ros": ("rclpy", "std_msgs", "std_srvs", "sensor_msgs", "geometry_msgs", "nav_msgs", "diagnostic_msgs", "lifecycle_msgs"),
    "d4rl": ("gymnasium", "gymnasium_robotics", "minari"),
    "sweep": ("ray",),
    "viz": ("matplotlib", "imageio", "imageio_ffmpeg"),
}
"""Extra -> the packages of it that are imported, by the name that Python imports."""

BY_HAND = {
    "robot_interface": "build unitree_legged_sdk 3.8.6 (branch go1) with its Python wrapper and put robot_interface*.so on PYTHONPATH",
    "pyrealsense2": "install librealsense 2.53.1, the last that knows the T265, with Python 3.10: pip install pyrealsense2==2.53.1.4623",
    "isaacgym": "Isaac Gym Preview 4, from its maker, in an environment of Python 3.8",
    "EGL": "apt-get install libegl1 libgl1-mesa-dri",
}
"""Vendors' modules and libraries of the system -> how to install them."""


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """What to tell a user whose installation lacks the package that `error` names; None if no extra brings it."""
    package = (error.name or "").partition(".")[0]
    for extra, packages in EXTRAS.items():
        if package in packages:
            return MissingExtraError(package, extra)
    return None
