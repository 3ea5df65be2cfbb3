"""The robots that a verb can be pointed at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from robot.pace import AsFastAsPossible
from robot.station import Station
from twin.driver import TwinDriver, TwinVelocity
from twin.terrain import Terrain


@contextmanager
def twin_station(terrain: Terrain, seed: int) -> Iterator[Station]:
    """A simulated robot on `terrain`, as fast as it goes; closed at the end."""
    driver = TwinDriver(terrain, seed)
    driver.connect()
    try:
        yield Station(driver, TwinVelocity(driver, seed), AsFastAsPossible(), driver.place, f"twin:{terrain.name}")
    finally:
        driver.close()
