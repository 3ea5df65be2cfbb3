"""Vectors between the frames, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from robot.rotation import projected_gravity, rotate_to_body, rotate_to_world

HALF = np.sqrt(0.5)  # cos and sin of 45 degrees, half of a quarter turn


@pytest.mark.parametrize(
    ("quaternion_wxyz", "gravity_b"),
    [
        ((1, 0, 0, 0), (0, 0, -1)),  # upright: down is down
        ((HALF, HALF, 0, 0), (0, -1, 0)),  # rolled 90 degrees to the right (about +x): the left side is up, so down is -y
        ((HALF, 0, HALF, 0), (1, 0, 0)),  # pitched 90 degrees nose down: down is forward
        ((HALF, 0, 0, HALF), (0, 0, -1)),  # heading does not matter
        ((0, 1, 0, 0), (0, 0, 1)),  # upside down
    ],
)
def test_projected_gravity(quaternion_wxyz: tuple[float, ...], gravity_b: tuple[float, ...]) -> None:
    np.testing.assert_allclose(projected_gravity(np.array(quaternion_wxyz, dtype=np.float64)), gravity_b, atol=1e-12)


def test_a_robot_that_turned_left_sees_world_forward_on_its_right() -> None:
    turned_left = np.array([HALF, 0.0, 0.0, HALF])
    np.testing.assert_allclose(rotate_to_body(turned_left, np.array([1.0, 0.0, 0.0])), [0.0, -1.0, 0.0], atol=1e-12)


def test_what_is_forward_for_a_robot_that_turned_left_is_the_worlds_left() -> None:
    turned_left = np.array([HALF, 0.0, 0.0, HALF])
    np.testing.assert_allclose(rotate_to_world(turned_left, np.array([[1.0, 0.0, 0.5]])), [[0.0, 1.0, 0.5]], atol=1e-12)
    rng = np.random.default_rng(0)
    quaternions, vectors = rng.standard_normal((7, 4)), rng.standard_normal((7, 3))
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    np.testing.assert_allclose(rotate_to_body(quaternions, rotate_to_world(quaternions, vectors)), vectors, atol=1e-12)
