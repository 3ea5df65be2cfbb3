"""What the twin walks on: a plane whose contact can be hard or as compliant as a mattress."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.config import load_config
from common.errors import QuadloopError
from robot import go1


class TerrainError(QuadloopError):
    """A terrain that is neither known by name nor described by a readable file."""


@dataclass(frozen=True)
class Terrain:
    """Contact of the floor in MuJoCo's terms. It overrides the feet's own, so that a terrain means the same for every body."""

    name: str
    solref: tuple[float, float] = (0.02, 1.0)  # time constant (s) and damping ratio of the contact
    solimp: tuple[float, float, float] = (0.9, 0.95, 0.001)  # impedance at and beyond `width` (m) of penetration
    friction: float = go1.FOOT_FRICTION  # sliding, Coulomb

    def __post_init__(self) -> None:
        time_constant, damping_ratio = self.solref
        if not (0.0 < time_constant <= 1.0 and 0.0 < damping_ratio <= 10.0):
            raise TerrainError(f"terrain '{self.name}': solref {self.solref} is no time constant in (0, 1] s, damping ratio in (0, 10]")
        d_min, d_max, width = self.solimp
        if not (0.0 < d_min <= d_max < 1.0 and 0.0 < width <= 1.0):
            raise TerrainError(f"terrain '{self.name}': solimp {self.solimp} must hold 0 < d_min <= d_max < 1 and a width in (0, 1] m")
        if not 0.0 < self.friction <= 5.0:
            raise TerrainError(f"terrain '{self.name}': friction {self.friction} must be in (0, 5]")


FLAT = Terrain("flat")
# A floor on which the released policies get into the trouble that the real logs show on a latex mattress: they sink in, walk at
# half the commanded speed and fall. Not yet fitted to the logs.
MATTRESS = Terrain("mattress", solref=(0.15, 1.0), solimp=(0.9, 0.95, 0.1))
TERRAINS = {terrain.name: terrain for terrain in (FLAT, MATTRESS)}


def find_terrain(name: str) -> Terrain:
    """The terrain called `name`, or the one that the YAML file of that name describes by Terrain's fields.

    TerrainError if it is neither, ConfigError for a file that does not fit.
    """
    if name in TERRAINS:
        return TERRAINS[name]
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise TerrainError(f"unknown terrain '{name}'; choose one of {', '.join(TERRAINS)} or a YAML file")
    return load_config(Terrain(path.stem), path)
