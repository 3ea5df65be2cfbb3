"""The training reward's terms against arithmetic done by hand; every weight is 1 here, so that no tuning is repeated."""

import dataclasses

import numpy as np
import pytest

from robot.observation import trot_command
from sim_pretrain.reward import (
    CONTACT_FORCE_WIDTH,
    CONTACT_SPEED_WIDTH,
    STANCE_HEIGHT,
    PenaltyWeights,
    penalty_terms,
    total_reward,
    tracking_terms,
)
from twin.batch import BatchState

ONES = PenaltyWeights(**{field.name: 1.0 for field in dataclasses.fields(PenaltyWeights)})
FEET_UP = np.array([[[0.2, 0.1, 1.0], [0.2, -0.1, 1.0], [-0.2, 0.1, 1.0], [-0.2, -0.1, 1.0]]])


def state(**changes):
    """One robot at rest, upright, at the trot's height, its feet high and unloaded."""
    fields = {
        "joint_pos": np.zeros((1, 12)), "joint_vel": np.zeros((1, 12)), "joint_torque": np.zeros((1, 12)),
        "base_pos_w": np.array([[0.0, 0.0, STANCE_HEIGHT]]), "quaternion_wxyz": np.array([[1.0, 0.0, 0.0, 0.0]]),
        "base_lin_vel_w": np.zeros((1, 3)), "base_ang_vel_b": np.zeros((1, 3)), "accelerometer_b": np.zeros((1, 3)),
        "foot_force": np.zeros((1, 4)), "foot_pos_w": FEET_UP, "foot_vel_w": np.zeros((1, 4, 3)),
    }  # fmt: skip
    return BatchState(**(fields | {name: np.array([value], dtype=float) for name, value in changes.items()}))


def penalties(now, before=None, command=None, gait_index=0.25, action=None, last_action=None):
    nothing = np.zeros((1, 12))
    terms = penalty_terms(
        now, before or state(), (trot_command() if command is None else command)[None], np.array([gait_index]),
        nothing if action is None else action, nothing if last_action is None else last_action, ONES,
    )  # fmt: skip
    return {name: value[0] for name, value in terms.items()}


def test_perfect_tracking_earns_one_and_a_half():
    terms = tracking_terms(state(base_lin_vel_w=[0.6, 0.1, 0.0], base_ang_vel_b=[0, 0, 0.3]), trot_command(0.6, 0.1, 0.3)[None])
    assert terms["track_lin_vel"] == pytest.approx([1.0])
    assert terms["track_ang_vel"] == pytest.approx([0.5])


def test_tracking_falls_with_the_squared_error():
    # |(0.3, 0.4)|^2 = 0.25, so exp(-1) = 0.367879; half of exp(-(0.5)^2 / 0.25) = 0.183940.
    terms = tracking_terms(state(base_lin_vel_w=[0.3, 0.4, 9.0], base_ang_vel_b=[9, 9, 0.5]), trot_command()[None])
    assert terms["track_lin_vel"] == pytest.approx([0.367879], abs=1e-6)
    assert terms["track_ang_vel"] == pytest.approx([0.183940], abs=1e-6)


def test_tracking_is_measured_in_the_body_frame():
    # Facing along the world's y: moving along y is forward.
    half = np.sqrt(0.5)
    sideways = state(quaternion_wxyz=[half, 0, 0, half], base_lin_vel_w=[0.0, 0.7, 0.0])
    assert tracking_terms(sideways, trot_command(0.7)[None])["track_lin_vel"] == pytest.approx([1.0])


def test_a_robot_at_rest_pays_nothing():
    assert penalties(state()) == dict.fromkeys(penalties(state()), 0.0)


def test_motion_of_trunk_and_joints():
    one_joint = np.eye(1, 12)[0]
    assert penalties(state(base_lin_vel_w=[0, 0, 0.5]))["lin_vel_z"] == pytest.approx(0.25)
    assert penalties(state(base_ang_vel_b=[0.3, 0.4, 7]))["ang_vel_xy"] == pytest.approx(0.25)
    assert penalties(state(joint_torque=2 * one_joint))["joint_torque"] == pytest.approx(4.0)
    moving = penalties(state(joint_vel=3 * one_joint), before=state(joint_vel=one_joint))
    assert moving["joint_vel"] == pytest.approx(9.0)
    assert moving["joint_acc"] == pytest.approx(10_000.0)  # (2 rad/s in 0.02 s)^2


def test_change_of_action():
    action, last_action = np.full((1, 12), 0.5), np.full((1, 12), 0.25)
    assert penalties(state(), action=action, last_action=last_action)["action_rate"] == pytest.approx(12 * 0.0625)


def test_posture():
    # Rolled by 30 degrees the horizontal share of gravity is sin 30 = 0.5.
    rolled = state(quaternion_wxyz=[np.cos(np.pi / 12), np.sin(np.pi / 12), 0, 0])
    assert penalties(rolled)["orientation"] == pytest.approx(0.25)
    low = state(base_pos_w=[0, 0, STANCE_HEIGHT - 0.1])
    assert penalties(low)["height"] == pytest.approx(0.01)
    crouch = trot_command()
    crouch[3] = -0.1
    assert penalties(low, command=crouch)["height"] == pytest.approx(0.0)


def test_feet_that_press_the_floor_in_their_swing():
    # At gait index 0.25 of a trot FL and RR are in the middle of their swing, FR and RL of their stance.
    force = np.sqrt(CONTACT_FORCE_WIDTH)
    assert penalties(state(foot_force=[force, 0, 0, 0]))["swing_contact"] == pytest.approx(0.632121, abs=1e-6)  # 1 - exp(-1)
    assert penalties(state(foot_force=[0, force, force, 0]))["swing_contact"] == 0.0
    assert penalties(state(foot_force=[force] * 4))["swing_contact"] == pytest.approx(2 * 0.632121, abs=1e-6)


def test_feet_that_move_in_their_stance():
    slide = [np.sqrt(CONTACT_SPEED_WIDTH), 0.0, 5.0]
    still = [0.0, 0.0, 0.0]
    assert penalties(state(foot_vel_w=[still, slide, still, still]))["stance_slip"] == pytest.approx(0.632121, abs=1e-6)
    assert penalties(state(foot_vel_w=[slide, still, still, slide]))["stance_slip"] == 0.0


def test_feet_that_swing_too_low():
    # The apex of 0.08 m is that of the sole: 0.103 m for the foot's centre. FL lacks 0.05 m of it, RR nothing; FR stands.
    feet = FEET_UP[0].copy()
    feet[:, 2] = (0.053, 0.023, 0.023, 0.2)
    assert penalties(state(foot_pos_w=feet))["swing_height"] == pytest.approx(0.0025)


def test_penalties_only_ever_shrink_the_reward():
    tracking = {"track_lin_vel": np.array([1.0]), "track_ang_vel": np.array([0.5])}
    assert total_reward(tracking, {"height": np.array([0.0])}) == pytest.approx([0.03])
    # 0.03 / e
    assert total_reward(tracking, {"height": np.array([0.5]), "joint_vel": np.array([0.5])}) == pytest.approx([0.011036], abs=1e-6)
    assert total_reward(tracking, {"height": np.array([1e6])}) >= 0.0
