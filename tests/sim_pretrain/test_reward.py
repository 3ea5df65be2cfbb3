"""The training reward's terms against arithmetic done by hand; every weight is 1 here, so that no tuning is repeated."""

import dataclasses

import numpy as np
import pytest

from robot.command import trot_command
from sim_pretrain.reward import (
    BIAS_WIDTH,
    CONTACT_FORCE,
    CONTACT_SPEED_WIDTH,
    STANCE_HEIGHT,
    PenaltyWeights,
    penalty_terms,
    total_reward,
    tracking_terms,
    velocity_error,
    wanted_contact,
    wanted_gravity,
    wanted_placement,
)
from twin.batch import BatchState

ONES = PenaltyWeights(**{field.name: 1.0 for field in dataclasses.fields(PenaltyWeights)})
FEET_UP = np.array([[[0.2, 0.1, 1.0], [0.2, -0.1, 1.0], [-0.2, 0.1, 1.0], [-0.2, -0.1, 1.0]]])


def state(**changes):
    """One robot at rest, upright, at the trot's height, its feet high and unloaded."""
    fields = {
        "joint_pos": np.zeros((1, 12)), "joint_vel": np.zeros((1, 12)),
        "joint_torque": np.zeros((1, 12)), "asked_torque": np.zeros((1, 12)),
        "base_pos_w": np.array([[0.0, 0.0, STANCE_HEIGHT]]), "quaternion_wxyz": np.array([[1.0, 0.0, 0.0, 0.0]]),
        "base_lin_vel_w": np.zeros((1, 3)), "base_ang_vel_b": np.zeros((1, 3)), "accelerometer_b": np.zeros((1, 3)),
        "foot_force": np.zeros((1, 4)), "foot_pos_w": FEET_UP, "foot_vel_w": np.zeros((1, 4, 3)),
    }  # fmt: skip
    return BatchState(**(fields | {name: np.array([value], dtype=float) for name, value in changes.items()}))


def penalties(now, before=None, command=None, gait_index=0.25, action=None, last_action=None, mean_error=(0, 0, 0)):
    nothing = np.zeros((1, 12))
    terms = penalty_terms(
        now, before or state(), (trot_command() if command is None else command)[None], np.array([gait_index]),
        nothing if action is None else action, nothing if last_action is None else last_action, np.array([mean_error], dtype=float), ONES,
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


def test_a_robot_at_rest_pays_only_for_the_gait_it_lacks():
    paid = penalties(state())
    assert {name for name, value in paid.items() if value} == {"stance_lift", "placement"}


def test_motion_of_trunk_and_joints():
    one_joint = np.eye(1, 12)[0]
    assert penalties(state(base_lin_vel_w=[0, 0, 0.5]))["lin_vel_z"] == pytest.approx(0.25)
    assert penalties(state(base_ang_vel_b=[0.3, 0.4, 7]))["ang_vel_xy"] == pytest.approx(0.25)
    assert penalties(state(joint_torque=2 * one_joint))["joint_torque"] == pytest.approx(4.0)
    assert penalties(state(joint_torque=2 * one_joint, joint_vel=-3 * one_joint))["power"] == pytest.approx(6.0)
    assert penalties(state(joint_torque=2 * one_joint, asked_torque=5 * one_joint))["torque_gap"] == pytest.approx(9.0)
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


def test_commanded_pitch_and_roll():
    # Walk These Ways' signs: nose up, left side down. sin 0.3 = 0.295520, sin 0.2 = 0.198669, cos 0.2 = 0.980067.
    command = trot_command()
    command[10:12] = 0.3, 0.2
    assert wanted_gravity(command[None])[0] == pytest.approx([-0.289630, 0.198669], abs=1e-6)
    nose_up = state(quaternion_wxyz=[np.cos(0.15), 0, -np.sin(0.15), 0])
    command[11] = 0.0
    assert penalties(nose_up, command=command)["orientation"] == pytest.approx(0.0, abs=1e-12)


def test_a_velocity_error_that_lasts():
    now = state(base_lin_vel_w=[0.6, 0.1, 9.0], base_ang_vel_b=[9, 9, 0.5])
    assert velocity_error(now, trot_command(0.5, 0.3, 0.1)[None])[0] == pytest.approx([0.1, -0.2, 0.4])
    lasting = (np.sqrt(BIAS_WIDTH), 0.0, 0.0)
    assert penalties(state(), mean_error=lasting)["bias"] == pytest.approx(0.632121, abs=1e-6)  # 1 - exp(-1)


def test_wanted_contact_is_soft_between_stance_and_swing():
    # tanh(1 / 0.25) = 0.999329
    contact = wanted_contact(np.array([0.25, 0.75, 0.0, 0.5]))
    assert contact == pytest.approx([0.999665, 0.000335, 0.5, 0.5], abs=1e-6)


# At gait index 0.25 of a trot FL and RR are in the middle of their swing, FR and RL of their stance.


def test_feet_that_press_the_floor_in_their_swing():
    force = CONTACT_FORCE  # pressed is 1 - exp(-1) = 0.632121
    assert penalties(state(foot_force=[force, 0, 0, 0]))["swing_contact"] == pytest.approx(0.6319, abs=1e-4)
    assert penalties(state(foot_force=[0, force, force, 0]))["swing_contact"] == pytest.approx(0.0004, abs=1e-4)
    assert penalties(state(foot_force=[force] * 4))["swing_contact"] == pytest.approx(2 * 0.632121, abs=1e-4)


def test_feet_that_do_not_press_the_floor_in_their_stance():
    assert penalties(state(foot_force=[0, 0, 0, 0]))["stance_lift"] == pytest.approx(2.0)
    assert penalties(state(foot_force=[0, CONTACT_FORCE, 1e6, 0]))["stance_lift"] == pytest.approx(0.3679 + 0.0007, abs=2e-4)


def test_feet_that_move_in_their_stance():
    slide = [np.sqrt(CONTACT_SPEED_WIDTH), 0.0, 0.0]
    still = [0.0, 0.0, 0.0]
    assert penalties(state(foot_vel_w=[still, slide, still, still]))["stance_slip"] == pytest.approx(0.6319, abs=1e-4)
    assert penalties(state(foot_vel_w=[slide, still, still, slide]))["stance_slip"] == pytest.approx(0.0004, abs=1e-4)


def test_feet_that_swing_too_low():
    # The apex of 0.08 m is that of the sole: 0.103 m for the foot's centre. FL lacks 0.05 m of it, RR nothing; FR stands.
    feet = FEET_UP[0].copy()
    feet[:, 2] = (0.053, 0.023, 0.023, 0.2)
    assert penalties(state(foot_pos_w=feet))["swing_height"] == pytest.approx(0.0025)


def test_where_feet_belong_in_the_middle_of_their_stance():
    # Half of 0.40 m before and behind, half of 0.33 m to the sides.
    feet = wanted_placement(trot_command(1.0, 0.2, 0.5)[None], np.full((1, 4), 0.25))[0]
    assert feet.tolist() == [[0.2, 0.165], [0.2, -0.165], [-0.2, 0.165], [-0.2, -0.165]]


def test_feet_touch_down_ahead_and_lift_off_behind():
    # Half a stance is 0.5 / 3 Hz / 2 = 1/12 s: at 1.2 m/s a foot moves 0.1 m in it.
    command = trot_command(1.2)[None]
    assert wanted_placement(command, np.full((1, 4), 0.0))[0, 0] == pytest.approx([0.3, 0.165])
    assert wanted_placement(command, np.full((1, 4), 0.4999999))[0, 0] == pytest.approx([0.1, 0.165], abs=1e-6)
    assert wanted_placement(command, np.full((1, 4), 0.75))[0, 0] == pytest.approx([0.2, 0.165], abs=1e-6)
    assert wanted_placement(command, np.full((1, 4), 0.9999999))[0, 0] == pytest.approx([0.3, 0.165], abs=1e-6)


def test_feet_of_a_turn_move_with_the_floor_under_them():
    # Turning left at 1.2 rad/s, the trunk's corner (0.2, 0.165) sees the floor move by 1.2 (-y, x), for 1/12 s.
    assert wanted_placement(trot_command(0, 0, 1.2)[None], np.zeros((1, 4)))[0, 0] == pytest.approx([0.2 - 0.0165, 0.165 + 0.02])


def test_feet_out_of_place_are_measured_along_the_trunks_heading():
    placed = np.array([[0.2, 0.165, 0.02], [0.2, -0.165, 0.02], [-0.2, 0.165, 0.02], [-0.2, -0.165, 0.02]])
    assert penalties(state(foot_pos_w=placed))["placement"] == pytest.approx(0.0, abs=1e-9)
    half = np.sqrt(0.5)  # facing along the world's y: x forward is y, y left is -x
    turned = np.stack([-placed[:, 1], placed[:, 0], placed[:, 2]], axis=1)
    assert penalties(state(quaternion_wxyz=[half, 0, 0, half], foot_pos_w=turned))["placement"] == pytest.approx(0.0, abs=1e-9)
    placed[1, 0] += 0.1  # FR, in the middle of its stance
    assert penalties(state(foot_pos_w=placed))["placement"] == pytest.approx(0.01, abs=1e-4)


def test_penalties_only_ever_shrink_the_reward():
    tracking = {"track_lin_vel": np.array([1.0]), "track_ang_vel": np.array([0.5])}
    assert total_reward(tracking, {"height": np.array([0.0])}) == pytest.approx([0.03])
    # 0.03 / e
    assert total_reward(tracking, {"height": np.array([0.5]), "joint_vel": np.array([0.5])}) == pytest.approx([0.011036], abs=1e-6)
    assert total_reward(tracking, {"height": np.array([1e6])}) >= 0.0
