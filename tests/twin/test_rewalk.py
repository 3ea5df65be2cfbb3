from dataclasses import replace

import numpy as np

import twin.rewalk
from tests.twin.walks import walk
from twin.rewalk import rewalk
from twin.world import FLAT, Pushes


class Still:
    def act(self, observation_history):
        return np.zeros((len(observation_history), 12), dtype=np.float32), np.ones(12, dtype=np.float32)


class Topple:
    """Turns every hip to the left, further than a Go1 can stand."""

    def act(self, observation_history):
        return np.tile(np.array([20.0, 0, 0] * 4, dtype=np.float32), (len(observation_history), 1)), np.ones(12, dtype=np.float32)


def test_every_walk_has_its_own_length_also_where_robots_take_turns(monkeypatch):
    monkeypatch.setattr(twin.rewalk, "AT_ONCE", 2)
    walks = [walk(steps, session=str(steps)) for steps in (5, 30, 12, 1, 20)]
    walked = rewalk(FLAT, walks, Still(), seed=0)
    assert [len(each.commands) for each in walked] == [len(each.speed) for each in walked] == [5, 30, 12, 1, 20]
    assert [each.session for each in walked] == ["5", "30", "12", "1", "20"]
    assert not any(each.fell for each in walked)
    assert all(np.isfinite(each.speed).all() and (each.gravity_b[:, 2] < -0.9).all() for each in walked)


def test_a_fall_ends_a_walk_and_the_next_one_stands_again():
    walked = rewalk(FLAT, [walk(200), walk(200)], Topple(), seed=0)
    assert all(each.fell and 5 < len(each.commands) < 200 for each in walked)


def test_the_same_seed_walks_the_same_and_noise_and_pushes_are_felt():
    def heights(world=FLAT, noise=0.0, seed=1):
        return rewalk(world, [walk(40, noise_std=noise)], Still(), seed)[0].gravity_b

    assert np.array_equal(heights(noise=0.3), heights(noise=0.3))
    assert not np.array_equal(heights(noise=0.3), heights(noise=0.0))
    assert not np.array_equal(heights(replace(FLAT, pushes=Pushes(0.1, 0.5))), heights())
