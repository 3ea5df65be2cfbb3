"""The Go1's numbers against the vendor's and against arithmetic done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from robot import go1


def test_sdk_order_is_front_right_first() -> None:
    # Policy order FL 0-2, FR 3-5, RL 6-8, RR 9-11; the SDK's motors are FR, FL, RR, RL.
    index = go1.order_map(go1.JOINT_NAMES, go1.SDK_JOINT_NAMES)
    assert index.tolist() == [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]


def test_order_map_moves_values_by_name() -> None:
    index = go1.order_map(("a", "b", "c"), ("c", "a", "b"))
    assert np.array([10.0, 20.0, 30.0])[index].tolist() == [30.0, 10.0, 20.0]


def test_order_map_refuses_different_joints() -> None:
    with pytest.raises(ValueError, match="different joints"):
        go1.order_map(("a", "b"), ("a", "c"))


def test_joint_names_in_policy_order() -> None:
    assert go1.JOINT_NAMES[:4] == ("FL_hip_joint", "FL_thigh_joint", "FL_calf_joint", "FR_hip_joint")
    assert go1.JOINT_NAMES[-1] == "RR_calf_joint"


def test_total_mass() -> None:
    # 5.204 + 4 x (0.68 + 1.009 + 0.196) = 5.204 + 4 x 1.885
    assert pytest.approx(12.744) == go1.TOTAL_MASS


def test_limits_are_the_vendors() -> None:
    assert go1.JOINT_POS_LOWER[:3].tolist() == [-1.047, -0.663, -2.721]
    assert go1.JOINT_POS_UPPER[9:].tolist() == [1.047, 2.966, -0.837]
    assert go1.TORQUE_LIMIT[3:6].tolist() == [23.7, 23.7, 35.55]
    assert go1.JOINT_VEL_LIMIT[6:9].tolist() == [30.1, 30.1, 20.06]


def test_the_gains_are_those_that_the_policies_were_trained_with() -> None:
    assert (go1.KP, go1.KD) == (20.0, 0.5)


def test_defaults_lie_inside_the_limits() -> None:
    assert (go1.JOINT_POS_LOWER < go1.DEFAULT_JOINT_POS).all()
    assert (go1.JOINT_POS_UPPER > go1.DEFAULT_JOINT_POS).all()


def test_rear_thighs_stand_further_back_and_hips_mirror() -> None:
    assert go1.DEFAULT_JOINT_POS[[1, 4, 7, 10]].tolist() == [0.8, 0.8, 1.0, 1.0]
    assert go1.DEFAULT_JOINT_POS[[0, 3, 6, 9]].tolist() == [0.1, -0.1, 0.1, -0.1]


def test_constants_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        go1.DEFAULT_JOINT_POS[0] = 1.0


def test_joint_pos_target() -> None:
    action = np.zeros(12)
    action[:3] = (1.0, -2.0, 4.0)
    target = go1.joint_pos_target_of(action)
    # 0.1 + 0.125 x 1, 0.8 - 0.25 x 2, -1.5 + 0.25 x 4
    np.testing.assert_allclose(target[:3], [0.225, 0.3, -0.5])
    assert target[3:].tolist() == go1.DEFAULT_JOINT_POS[3:].tolist()


def test_joint_pos_target_clips_the_action_at_ten() -> None:
    actions = np.full((2, 12), 25.0)
    # hip 0.1 + 0.125 x 10, thigh 0.8 + 0.25 x 10
    np.testing.assert_allclose(go1.joint_pos_target_of(actions)[:, :2], [[1.35, 3.3], [1.35, 3.3]])
    np.testing.assert_allclose(go1.joint_pos_target_of(-actions)[:, :2], [[-1.15, -1.7], [-1.15, -1.7]])  # and 0.1 - 1.25, 0.8 - 2.5


def test_control_period_is_four_physics_steps() -> None:
    assert pytest.approx(0.02) == go1.CONTROL_DT == go1.PHYSICS_DT * go1.DECIMATION


@pytest.mark.parametrize(
    ("leg", "hip_com", "thigh_com"),
    [
        ("FL", (-0.0049, -0.0076, 0.0), (-0.003, -0.0193, -0.0305)),
        ("FR", (-0.0049, 0.0076, 0.0), (-0.003, 0.0193, -0.0305)),
        ("RL", (0.0049, -0.0076, 0.0), (-0.003, -0.0193, -0.0305)),
        ("RR", (0.0049, 0.0076, 0.0), (-0.003, 0.0193, -0.0305)),
    ],
)
def test_links_mirror(leg: str, hip_com: tuple[float, ...], thigh_com: tuple[float, ...]) -> None:
    assert go1.hip_com(leg) == hip_com
    assert go1.thigh_com(leg) == thigh_com
