"""The compiled model against the robot's numbers and against geometry worked out by hand."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from robot import go1
from twin.model import FOOT_SITES, build_model, set_gains, standing_qpos
from twin.world import FLAT, MATTRESS, Variation

LINKS = [f"{leg}_{part}" for leg in ("FL", "FR", "RL", "RR") for part in ("hip", "thigh", "calf")]


@pytest.fixture(scope="module")
def model():
    return build_model(FLAT)


def test_the_whole_robot_weighs_12_744_kg(model):
    assert model.body_mass.sum() == pytest.approx(12.744)  # 5.204 + 4 (0.68 + 1.009 + 0.196)


def test_links_have_their_masses_and_inertias(model):
    for link, mass, inertia in (
        ("trunk", 5.204, (0.0168, 0.0630, 0.0717)),
        ("FR_hip", 0.68, (7.3e-4, 4.7e-4, 4.0e-4)),
        ("RL_thigh", 1.009, (4.8e-3, 4.6e-3, 7.1e-4)),
        ("RR_calf", 0.196, (1.5e-3, 1.5e-3, 3.6e-5)),
    ):
        assert model.body(link).mass[0] == pytest.approx(mass)
        assert model.body(link).inertia == pytest.approx(inertia)
        assert model.body(link).iquat == pytest.approx((1, 0, 0, 0))


def test_centres_of_mass_mirror(model):
    assert model.body("trunk").ipos == pytest.approx((0.0223, 0.002, -0.0005))
    assert model.body("FL_hip").ipos == pytest.approx((-0.0049, -0.0076, 0))
    assert model.body("RR_hip").ipos == pytest.approx((0.0049, 0.0076, 0))
    assert model.body("FR_thigh").ipos == pytest.approx((-0.003, 0.0193, -0.0305))


def test_joints_and_motors_are_in_the_policys_order(model):
    joints = [mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_JOINT, index) for index in range(1, model.njnt)]
    motors = [mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_ACTUATOR, index) for index in range(model.nu)]
    assert joints == [f"{link}_joint" for link in LINKS]
    assert motors == joints
    assert model.actuator_trnid[:, 0].tolist() == list(range(1, 13))
    assert model.jnt_qposadr[1:].tolist() == list(range(7, 19))


def test_joint_limits_are_the_vendors(model):
    assert model.jnt_range[1:4].tolist() == [[-1.047, 1.047], [-0.663, 2.966], [-2.721, -0.837]]
    assert model.jnt_limited[1:].all()


def test_rotors_and_friction(model):
    assert model.dof_armature[6:].tolist() == [go1.JOINT_ARMATURE] * 12
    assert model.dof_frictionloss[6:].tolist() == [go1.JOINT_FRICTIONLOSS] * 12
    assert model.dof_damping[6:].ravel().tolist() == [go1.JOINT_DAMPING] * 12


def test_motors_are_pd_controllers_within_the_torque_limits(model):
    assert model.actuator_gainprm[:, 0].tolist() == [20.0] * 12
    assert model.actuator_biasprm[:, :3].tolist() == [[0.0, -20.0, -0.5]] * 12
    assert model.actuator_forcerange.tolist() == [[-23.7, 23.7], [-23.7, 23.7], [-35.55, 35.55]] * 4


def test_set_gains_changes_every_motor_on_its_own():
    model = build_model(FLAT)
    set_gains(model, np.arange(12.0), np.full(12, 3.0))
    assert model.actuator_gainprm[:, 0].tolist() == list(range(12))
    assert model.actuator_biasprm[5, :3].tolist() == [0.0, -5.0, -3.0]


def test_a_control_period_is_four_steps_of_5_ms(model):
    assert model.opt.timestep == 0.005
    assert model.opt.timestep * go1.DECIMATION == pytest.approx(0.02)


def test_feet_of_the_default_posture(model):
    # Leg plane: x = -0.213 (sin t + sin(t - 1.5)), z = -0.213 (cos t + cos(t - 1.5)); t = 0.8 in front gives (-0.015578, -0.311310),
    # t = 1.0 behind (-0.077116, -0.302010). Turned by the hip's 0.1 rad: y = 0.08 cos 0.1 - z sin 0.1, z = 0.08 sin 0.1 + z cos 0.1.
    data = mujoco.MjData(model)
    data.qpos[:] = standing_qpos()
    mujoco.mj_kinematics(model, data)
    feet = [data.site(site).xpos.tolist() for site in FOOT_SITES]
    assert feet[0] == pytest.approx((0.172522, 0.157429, 0.32 - 0.301768), abs=2e-6)
    assert feet[1] == pytest.approx((0.172522, -0.157429, 0.32 - 0.301768), abs=2e-6)
    assert feet[2] == pytest.approx((-0.265216, 0.156501, 0.32 - 0.292515), abs=2e-6)
    assert feet[3] == pytest.approx((-0.265216, -0.156501, 0.32 - 0.292515), abs=2e-6)


def test_the_floor_has_the_terrains_contact_whatever_touches_it():
    model = build_model(MATTRESS)
    floor = model.geom("floor")
    assert floor.solref.tolist() == list(MATTRESS.solref)
    assert floor.solimp[:3].tolist() == list(MATTRESS.solimp)
    assert floor.friction[0] == MATTRESS.friction
    assert floor.priority[0] > max(model.geom(index).priority[0] for index in range(1, model.ngeom))


def test_links_touch_the_floor_and_never_each_other(model):
    robot = [model.geom(index) for index in range(model.ngeom) if model.geom(index).name != "floor"]
    assert all(geom.contype[0] == 0 and geom.conaffinity[0] & model.geom("floor").contype[0] for geom in robot)


def test_the_default_variation_is_the_standard_robot(model):
    variant = build_model(replace(FLAT, robot=Variation()))
    for name in ("body_mass", "body_inertia", "body_ipos", "actuator_gainprm", "actuator_biasprm", "actuator_forcerange", "geom_friction"):
        assert getattr(variant, name) == pytest.approx(getattr(model, name)), name


def test_a_variation_changes_what_it_names():
    robot = Variation(5.204, (0.01, 0.0, -0.02), 0.8, 1.5, 2.0, joint_armature=0.02, joint_damping=0.3, joint_frictionloss=0.4)
    variant = build_model(replace(FLAT, robot=robot, friction=0.5))
    trunk = variant.body("trunk")
    assert trunk.mass[0] == pytest.approx(2 * 5.204)
    assert trunk.inertia == pytest.approx((2 * 0.0168, 2 * 0.0630, 2 * 0.0717))
    assert trunk.ipos == pytest.approx((0.0323, 0.002, -0.0205))
    assert variant.geom("floor").friction[0] == 0.5
    assert variant.actuator_gainprm[0, 0] == pytest.approx(20 * 1.5 * 0.8)
    assert variant.actuator_biasprm[0, :3] == pytest.approx((0.0, -24.0, -0.5 * 2.0 * 0.8))
    assert variant.actuator_forcerange[0] == pytest.approx((-18.96, 18.96))
    assert variant.dof_armature[6:].tolist() == [0.02] * 12
    assert variant.dof_damping[6:].tolist() == [0.3] * 12
    assert variant.dof_frictionloss.tolist() == [0.0] * 6 + [0.4] * 12
    assert variant.body("trunk").subtreemass[0] == pytest.approx(12.744 + 5.204)  # the engine's derived numbers follow
