"""Robots and sensors that differ from the standard ones, so that a policy does not rely on what it cannot know.

The paper pretrains without (A.4): the defaults are off, `configs/pretrain_randomised.yaml` has them on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from common.array_types import Float32Array
from common.checks import NOT_NEGATIVE, POSITIVE, at_most, between, require, require_rising
from common.errors import ConfigError
from common.typed_values import show
from robot.observation import ObservationLayout
from twin.world import ADDED_MASS, MAX_FRICTION, NO_PUSHES, Pushes, World

_RANGES = ("friction", "added_mass", "com_shift", "motor_strength", "gains")


@dataclass(frozen=True)
class RandomisationConfig:
    """Ranges that robots are drawn from; a robot is drawn anew at each episode's start. The defaults are the standard robot."""

    variants: int = 1
    """different robots that are drawn from; 1 is the standard robot alone, and leaves the ranges below as they are"""
    friction: tuple[float, float] = (0.4, 1.2)
    """sliding friction of the floor"""
    added_mass: tuple[float, float] = (-0.5, 1.5)
    """on the trunk, kg"""
    com_shift: tuple[float, float] = (-0.03, 0.03)
    """of the trunk's centre of mass, each axis, m"""
    motor_strength: tuple[float, float] = (0.9, 1.1)
    """share of every torque"""
    gains: tuple[float, float] = (0.9, 1.1)
    """factor on kp and on kd, drawn apart"""
    pushes: Pushes = NO_PUSHES
    """what pushes every robot"""

    def __post_init__(self) -> None:
        require(self, between(1, 10_000), "variants")
        require(self, POSITIVE, "friction", "motor_strength", "gains")
        require(self, ADDED_MASS, "added_mass")
        require(self, at_most(MAX_FRICTION), "friction")
        for name in _RANGES:
            require_rising(self, name)
            given = getattr(self, name)
            if self.variants == 1 and given != getattr(type(self), name):
                raise ConfigError(f"{name} is {show(given)}, but variants is 1 and nothing is drawn from it; give more variants")


@dataclass(frozen=True)
class NoiseConfig:
    """Uniform noise on what the policy sees, drawn anew each control step, up to plus or minus these; the critic sees the truth."""

    projected_gravity: float = 0.005
    """of a unit vector, a standard deviation of 0.003; the robot's logs allow 0.002 to 0.004 of x and y (results/sensor_noise.json)"""
    joint_pos: float = 0.01
    """rad"""
    joint_vel: float = 0.5
    """rad/s"""

    def __post_init__(self) -> None:
        require(self, NOT_NEGATIVE, "projected_gravity", "joint_pos", "joint_vel")


def draw_worlds(config: RandomisationConfig, world: World, rng: np.random.Generator) -> list[World]:
    """`config.variants` worlds around `world`; a single one is `world` itself."""
    if config.variants == 1:
        return [world]
    return [_draw(config, world, rng) for _ in range(config.variants)]


def noise_amplitude(config: NoiseConfig, layout: ObservationLayout) -> Float32Array:
    """Largest noise (frame_size,) of each value of a frame, in its scaled units."""
    amplitude = np.zeros(layout.frame_size)
    for name in ("projected_gravity", "joint_pos", "joint_vel"):
        amplitude[layout.slice_of(name)] = getattr(config, name)
    return np.asarray(amplitude * layout.scales, dtype=np.float32)


def _draw(config: RandomisationConfig, world: World, rng: np.random.Generator) -> World:
    x, y, z = rng.uniform(*config.com_shift, 3)
    friction = rng.uniform(*config.friction)
    robot = replace(
        world.robot,
        added_mass=rng.uniform(*config.added_mass),
        com_shift=(x, y, z),
        motor_strength=rng.uniform(*config.motor_strength),
        kp_factor=rng.uniform(*config.gains),
        kd_factor=rng.uniform(*config.gains),
    )
    return replace(world, friction=friction, robot=robot)
