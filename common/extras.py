"""Which optional part of the installation brings which package."""

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


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """What to tell a user whose installation lacks the package that `error` names; None if no extra brings it."""
    package = (error.name or "").partition(".")[0]
    for extra, packages in EXTRAS.items():
        if package in packages:
            return MissingExtraError(package, extra)
    return None
