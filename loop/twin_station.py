"""The twin as a station for the learners, in simulated time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from robot.pace import AsFastAsPossible
from robot.station import Station
from twin.driver import TwinDriver, TwinVelocity
from twin.world import World


@contextmanager
def twin_station(world: World, seed: int) -> Iterator[Station]:
    """A simulated robot on `world`, as fast as it goes; closed at the end."""
    driver = TwinDriver(world, seed)
    driver.connect()
    try:
        yield Station(driver, TwinVelocity(driver, seed), AsFastAsPossible(), driver.place, f"twin:{world.name}")
    finally:
        driver.close()
