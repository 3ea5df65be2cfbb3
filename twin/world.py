"""What a twin is: the floor it walks on, and how far its body and its motors are from the standard robot's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.checks import NOT_NEGATIVE, POSITIVE, Rule, between, require
from common.config import load_config
from common.errors import QuadloopError
from robot import go1
from twin.actuator import IDEAL, ActuatorConfig

ADDED_MASS = Rule(f"above -{go1.TRUNK_MASS} kg, what the trunk weighs", lambda value: value > -go1.TRUNK_MASS)
SHORT_NAME = Rule("printable and at most 100 characters long", lambda name: name.isprintable() and len(name) <= 100)
"""Of a world: a log names what walked as twin:NAME."""
MAX_FRICTION = 5.0  # of a floor; rubber on dry concrete has 1


class WorldError(QuadloopError):
    """A world that is neither known by name nor described by a readable file."""


@dataclass(frozen=True)
class Variation:
    """A robot that differs from the standard one. The defaults are the standard robot."""

    added_mass: float = 0.0
    """on the trunk, kg"""
    com_shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """of the trunk's centre of mass, m"""
    motor_strength: float = 1.0
    """share of every torque, its limit included"""
    kp_factor: float = 1.0
    """on the stiffness that is asked for"""
    kd_factor: float = 1.0
    """on the damping that is asked for"""
    joint_armature: float = go1.JOINT_ARMATURE
    """inertia of each joint's rotor as its joint feels it, kg m^2"""
    joint_damping: float = go1.JOINT_DAMPING
    """viscous, N m s / rad"""
    joint_frictionloss: float = go1.JOINT_FRICTIONLOSS
    """dry friction, N m"""

    def __post_init__(self) -> None:
        require(self, ADDED_MASS, "added_mass")
        require(self, POSITIVE, "motor_strength", "kp_factor", "kd_factor", "joint_armature")
        require(self, NOT_NEGATIVE, "joint_damping", "joint_frictionloss")


STANDARD = Variation()


@dataclass(frozen=True)
class Pushes:
    """Sudden changes of the trunk's speed, at random: what an uneven floor, or a hand, does to a robot."""

    every_s: float = 1.0
    """mean time between two of them, s"""
    speed: float = 0.0
    """most that one changes each horizontal component of the trunk's velocity, m/s; 0 never pushes"""

    def __post_init__(self) -> None:
        require(self, POSITIVE, "every_s")
        require(self, between(0, 10, "m/s"), "speed")


NO_PUSHES = Pushes()


@dataclass(frozen=True)
class World:
    """A plane whose contact can be hard or as compliant as a mattress, the robot on it, and what disturbs it.

    Contact is in MuJoCo's terms. It overrides the feet's own, so that a floor means the same for every body.
    """

    name: str
    solref: tuple[float, float] = (0.02, 1.0)  # time constant (s) and damping ratio of the contact
    solimp: tuple[float, float, float] = (0.9, 0.95, 0.001)  # impedance at and beyond `width` (m) of penetration
    friction: float = go1.FOOT_FRICTION  # sliding, Coulomb
    robot: Variation = STANDARD
    actuator: ActuatorConfig = IDEAL
    pushes: Pushes = NO_PUSHES

    def __post_init__(self) -> None:
        require(self, SHORT_NAME, "name")
        time_constant, damping_ratio = self.solref
        if not (0.0 < time_constant <= 1.0 and 0.0 < damping_ratio <= 10.0):
            raise WorldError(f"terrain '{self.name}': solref {self.solref} is no time constant in (0, 1] s, damping ratio in (0, 10]")
        d_min, d_max, width = self.solimp
        if not (0.0 < d_min <= d_max < 1.0 and 0.0 < width <= 1.0):
            raise WorldError(f"terrain '{self.name}': solimp {self.solimp} must hold 0 < d_min <= d_max < 1 and a width in (0, 1] m")
        if not 0.0 < self.friction <= MAX_FRICTION:
            raise WorldError(f"terrain '{self.name}': friction {self.friction} must be in (0, {MAX_FRICTION:g}]")


FLAT = World("flat")
# A floor on which the released policies get into the trouble that the real logs show on a latex mattress: they sink in, walk at
# half the commanded speed and fall. Worse than the recorded mattress (docs/calibration.md), and so a hard test.
MATTRESS = World("mattress", solref=(0.15, 1.0), solimp=(0.9, 0.95, 0.1))
WORLDS = {world.name: world for world in (FLAT, MATTRESS)}


def files_of_world(name: str) -> list[Path]:
    """The file that `find_world` reads for this name, if it reads one."""
    return [] if name in WORLDS else [Path(name)]


def find_world(name: str) -> World:
    """The world called `name`, or the one that the YAML file of that name describes by World's fields.

    WorldError if it is neither, ConfigError for a file that does not fit.
    """
    if name in WORLDS:
        return WORLDS[name]
    path = Path(name)
    is_yaml = path.suffix in (".yaml", ".yml")
    if (is_yaml or "/" in name) and not path.exists():
        raise WorldError(f"the terrain file '{name}' does not exist; name one that does, or choose one of {', '.join(WORLDS)}")
    if not (is_yaml and path.is_file()):
        raise WorldError(f"unknown terrain '{name}'; choose one of {', '.join(WORLDS)} or a YAML file")
    return load_config(World(path.stem), path)
