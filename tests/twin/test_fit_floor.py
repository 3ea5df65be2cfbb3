import numpy as np
import pytest

from robot.command import trot_command
from twin.fit_floor import FITTED, LOWER, PUSH_EVERY_S, UPPER, fit_floor
from twin.walk_figures import Walk
from twin.world import FLAT, Pushes, World

STEPS = 400
TRUE = World("true", solref=(0.06, 0.9), friction=0.7)


def walks(world, noise=0.0, sessions=1):
    """Walks whose speed falls with the time constant and rises with friction, whose roll shows pushes and whose pitch damping."""
    rng = np.random.default_rng(0)
    time_constant, damping_ratio = world.solref
    found = []
    for session in range(sessions):
        for vx in (0.3, 0.7, 1.2, 1.8):
            speed = vx * (0.4 * world.friction + 1.0 - 3 * time_constant) + noise * rng.standard_normal()
            roll = (0.1 + 0.2 * world.pushes.speed + noise * rng.standard_normal()) * np.sign(np.sin(np.arange(STEPS)))
            pitch = (0.15 - 0.05 * np.log(damping_ratio) + noise * rng.standard_normal()) * np.sign(np.cos(np.arange(STEPS)))
            gravity = np.stack([-np.sin(pitch), np.sin(roll), -np.ones(STEPS)], axis=1)
            found.append(Walk(np.tile(trot_command(vx), (STEPS, 1)), np.full(STEPS, speed), gravity, fell=False, session=str(session)))
    return found


def test_a_floor_is_found_by_what_it_does_to_walks():
    recorded = walks(World("true", solref=(0.06, 0.9), friction=0.7, pushes=Pushes(1.0, 0.5)), noise=0.002, sessions=20)
    tried = []
    fit = fit_floor(recorded, lambda world, _seed: tried.append(world) or walks(world), FLAT, points=40, rounds=2, seed=0)
    assert len(tried) == 80
    assert fit.values["damping_ratio"] == pytest.approx(0.9, rel=0.1)
    assert fit.values["push_speed"] == pytest.approx(0.5, rel=0.1)
    # Speed alone tells neither the time constant nor friction apart, but what they do together.
    assert 0.4 * fit.values["friction"] - 3 * fit.values["time_constant_s"] == pytest.approx(0.1, abs=0.01)
    assert fit.ci95["push_speed"][0] < 0.5 < fit.ci95["push_speed"][1]
    world = fit.world(FLAT)
    assert world.solref == pytest.approx((fit.values["time_constant_s"], fit.values["damping_ratio"]))
    assert (world.pushes.every_s, world.pushes.speed) == (PUSH_EVERY_S, pytest.approx(fit.values["push_speed"]))


def test_a_parameter_that_no_figure_tells_of_may_be_anywhere():
    def unmoved(world, _seed=0):
        return walks(World("same", solref=(0.06, world.solref[1]), friction=0.7))

    recorded = walks(TRUE, noise=0.002, sessions=10)
    fit = fit_floor(recorded, unmoved, FLAT, points=20, rounds=1, seed=0)
    low, high = fit.ci95["friction"]
    assert low == pytest.approx(LOWER[2], rel=0.1)
    assert high == pytest.approx(UPPER[2], rel=0.1)


def test_floors_stay_within_what_is_searched():
    tried = []
    fit_floor(walks(TRUE, 0.002, 5), lambda world, _seed: tried.append(world) or walks(world), FLAT, points=20, rounds=3, seed=1)
    for world in tried:
        values = np.array([*world.solref, world.friction, world.pushes.speed])
        assert (values >= LOWER * 0.999).all(), dict(zip(FITTED, values, strict=True))
        assert (values <= UPPER * 1.001).all()
