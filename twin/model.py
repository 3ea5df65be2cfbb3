"""The MuJoCo model of a Go1, built from robot.go1's constants with primitive shapes; no model file is read."""

from __future__ import annotations

import mujoco
import numpy as np

from robot import go1
from twin.actuator import Motors
from twin.world import Variation, World

# Physics that blows up is noticed by whoever steps the model; the engine would write a line for each to MUJOCO_LOG.TXT wherever the
# program was started.
mujoco.set_mju_user_warning(lambda _message: None)

TORQUE, ACCELEROMETER, FOOT_FORCE = slice(0, 12), slice(12, 15), slice(15, 19)
FOOT_POS, FOOT_VEL = slice(19, 31), slice(31, 43)
"""Where a model's sensors stand in its sensor data."""

FOOT_SITES = tuple(f"{leg}_foot" for leg in go1.LEGS)
# Bodies touch the floor and nothing else: one bit for the floor, one for the robot.
_FLOOR_TYPE, _ROBOT_AFFINITY = 1, 1
_JOINTS = slice(6, 18)  # degrees of freedom; the first six are the trunk's
STANDING_HEIGHT = 0.32  # m, trunk's centre above the floor at which a reset robot is dropped
# Newton's method stops after so many iterations, and each line search after so many. Chosen, without a source; MuJoCo's defaults are
# 100 and 50. Of the physics steps of an open-loop trot 9 % would need more than 4 iterations on the flat floor, 2 % on the mattress.
SOLVER_ITERATIONS, LINE_SEARCH_ITERATIONS = 4, 8
TORSIONAL_FRICTION, ROLLING_FRICTION = 0.005, 0.0001  # m; MuJoCo's defaults, without effect: contacts have its default of 3 dimensions
_TRUNK_COLOUR, _LEG_COLOUR, _FOOT_COLOUR = (0.22, 0.25, 0.30, 1), (0.85, 0.86, 0.88, 1), (0.90, 0.45, 0.15, 1)


def build_model(world: World) -> mujoco.MjModel:
    """Compile the Go1 of `world`: 19 positions, 18 velocities, 12 position actuators in the policy's joint order."""
    spec = mujoco.MjSpec()
    spec.modelname = go1.NAME
    spec.compiler.degree = False  # joint ranges are given in radians
    spec.option.timestep = go1.PHYSICS_DT
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.iterations, spec.option.ls_iterations = SOLVER_ITERATIONS, LINE_SEARCH_ITERATIONS
    # Otherwise a robot whose physics blows up is put back on its feet without a word.
    spec.option.disableflags = int(spec.option.disableflags) | int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
    _add_floor(spec, world)
    trunk = _add_trunk(spec)
    for leg in go1.LEGS:
        _add_leg(trunk, leg)
    for index, name in enumerate(go1.JOINT_NAMES):
        _add_motor(spec, name, index)
    _add_sensors(spec)
    model = spec.compile()
    _vary(model, world.robot)
    return model


def gains_of(robot: Variation, kp: np.ndarray, kd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What becomes of PD gains (12,) that are asked of this robot's motors."""
    return kp * robot.kp_factor * robot.motor_strength, kd * robot.kd_factor * robot.motor_strength


def standing_qpos() -> np.ndarray:
    """Positions (19,) of a robot at the default pose above the floor: x y z, quaternion wxyz, joints."""
    return np.concatenate([[0.0, 0.0, STANDING_HEIGHT, 1.0, 0.0, 0.0, 0.0], go1.DEFAULT_JOINT_POS])


def set_gains(model: mujoco.MjModel, kp: np.ndarray, kd: np.ndarray) -> None:
    """Set the PD gains (12,) of the position actuators in place: torque = kp (target - q) - kd qd, clipped at the limit."""
    model.actuator_gainprm[:, 0] = kp
    model.actuator_biasprm[:, 1] = -kp
    model.actuator_biasprm[:, 2] = -kd


def motors_of(model: mujoco.MjModel) -> Motors:
    """The PD law and torque limit (12,) of the position actuators: what `set_gains` set."""
    return Motors(model.actuator_gainprm[:, 0], -model.actuator_biasprm[:, 2], model.actuator_forcerange[:, 1])


def _vary(model: mujoco.MjModel, robot: Variation) -> None:
    """Make the standard robot differ as `robot` says; the trunk's inertia grows with its mass."""
    trunk = model.body("trunk")
    mass = go1.TRUNK_MASS + robot.added_mass
    trunk.mass[:] = mass
    trunk.inertia[:] = np.array(go1.TRUNK_INERTIA) * mass / go1.TRUNK_MASS
    trunk.ipos[:] = np.array(go1.TRUNK_COM) + robot.com_shift
    ones = np.ones(go1.NUM_JOINTS)
    set_gains(model, *gains_of(robot, go1.KP * ones, go1.KD * ones))
    model.actuator_forcerange *= robot.motor_strength
    model.dof_armature[_JOINTS] = robot.joint_armature
    model.dof_damping[_JOINTS] = robot.joint_damping
    model.dof_frictionloss[_JOINTS] = robot.joint_frictionloss
    mujoco.mj_setConst(model, mujoco.MjData(model))


def _add_floor(spec: mujoco.MjSpec, world: World) -> None:
    spec.add_texture(
        name="grid", type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=(0.35, 0.42, 0.50), rgb2=(0.42, 0.49, 0.57), width=256, height=256,
    )  # fmt: skip
    material = spec.add_material(name="grid", texrepeat=(2, 2), texuniform=True)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "grid"
    spec.worldbody.add_light(pos=(0, 0, 4), dir=(0, 0, -1), type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL)
    spec.worldbody.add_geom(
        name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=(0, 0, 0.05), material="grid", contype=_FLOOR_TYPE, conaffinity=0, priority=1,
        solref=world.solref, solimp=(*world.solimp, 0.5, 2.0), friction=(world.friction, TORSIONAL_FRICTION, ROLLING_FRICTION),
    )  # fmt: skip


def _add_trunk(spec: mujoco.MjSpec) -> mujoco.MjsBody:
    trunk = spec.worldbody.add_body(
        name="trunk", pos=(0, 0, STANDING_HEIGHT), mass=go1.TRUNK_MASS, ipos=go1.TRUNK_COM, inertia=go1.TRUNK_INERTIA, explicitinertial=True
    )
    trunk.add_freejoint(name="base")
    _add_shape(trunk, "trunk", mujoco.mjtGeom.mjGEOM_BOX, [length / 2 for length in go1.TRUNK_SIZE], _TRUNK_COLOUR)
    trunk.add_site(name="imu")
    trunk.add_camera(name="side", pos=(0.0, -1.3, 0.4), xyaxes=(1, 0, 0, 0, 0.3, 1), mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACK)
    return trunk


def _add_leg(trunk: mujoco.MjsBody, leg: str) -> None:
    side, end = go1.side_of(leg), go1.end_of(leg)
    hip_pos = (end * go1.HIP_OFFSET_X, side * go1.HIP_OFFSET_Y, 0)
    hip = _add_link(trunk, leg, "hip", hip_pos, (1, 0, 0), go1.HIP_MASS, go1.hip_com(leg), go1.HIP_INERTIA)
    thigh_pos = (0, side * go1.THIGH_OFFSET_Y, 0)
    thigh = _add_link(hip, leg, "thigh", thigh_pos, (0, 1, 0), go1.THIGH_MASS, go1.thigh_com(leg), go1.THIGH_INERTIA)
    _add_rod(thigh, f"{leg}_thigh", go1.THIGH_LENGTH, 0.02)
    calf = _add_link(thigh, leg, "calf", (0, 0, -go1.THIGH_LENGTH), (0, 1, 0), go1.CALF_MASS, go1.CALF_COM, go1.CALF_INERTIA)
    _add_rod(calf, f"{leg}_calf", go1.CALF_LENGTH, 0.013)
    foot_pos = (0, 0, -go1.CALF_LENGTH)
    _add_shape(calf, f"{leg}_foot", mujoco.mjtGeom.mjGEOM_SPHERE, (go1.FOOT_RADIUS, 0, 0), _FOOT_COLOUR, pos=foot_pos)
    calf.add_site(name=f"{leg}_foot", pos=foot_pos, size=(go1.FOOT_RADIUS * 1.5, 0, 0), group=4)


def _add_link(
    parent: mujoco.MjsBody, leg: str, part: str, pos: tuple[float, ...], axis: tuple[int, int, int], mass: float,
    com: tuple[float, ...], inertia: tuple[float, ...],
) -> mujoco.MjsBody:  # fmt: skip
    name = f"{leg}_{part}_joint"
    index = go1.JOINT_NAMES.index(name)
    body = parent.add_body(name=f"{leg}_{part}", pos=pos, mass=mass, ipos=com, inertia=inertia, explicitinertial=True)
    body.add_joint(
        name=name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=axis, armature=go1.JOINT_ARMATURE, frictionloss=go1.JOINT_FRICTIONLOSS,
        damping=_polynomial(go1.JOINT_DAMPING), range=(go1.JOINT_POS_LOWER[index], go1.JOINT_POS_UPPER[index]), limited=True,
    )  # fmt: skip
    return body


def _polynomial(linear: float) -> tuple[float, ...]:
    """Joint damping as the engine takes it: a plain number, or a polynomial's coefficients where its release has those."""
    size = np.size(mujoco.MjSpec().worldbody.add_body().add_joint().damping)
    return (linear, *[0.0] * (size - 1))


def _add_rod(body: mujoco.MjsBody, name: str, length: float, radius: float) -> None:
    ends = (0, 0, 0, 0, 0, -length)
    rod = body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=ends, size=(radius, 0, 0), rgba=_LEG_COLOUR)
    rod.contype, rod.conaffinity = 0, _ROBOT_AFFINITY


def _add_shape(
    body: mujoco.MjsBody, name: str, kind: mujoco.mjtGeom, size: tuple[float, ...] | list[float], colour: tuple[float, ...],
    pos: tuple[float, ...] = (0, 0, 0),
) -> None:  # fmt: skip
    body.add_geom(name=name, type=kind, size=size, pos=pos, rgba=colour, contype=0, conaffinity=_ROBOT_AFFINITY)


def _add_motor(spec: mujoco.MjSpec, joint: str, index: int) -> None:
    limit = float(go1.TORQUE_LIMIT[index])
    motor = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT, forcerange=(-limit, limit), forcelimited=True)
    motor.set_to_position(kp=go1.KP, kv=go1.KD)


def _add_sensors(spec: mujoco.MjSpec) -> None:
    """In the order of TORQUE, ACCELEROMETER and the feet's slices."""
    torque, actuator = mujoco.mjtSensor.mjSENS_ACTUATORFRC, mujoco.mjtObj.mjOBJ_ACTUATOR
    for joint in go1.JOINT_NAMES:
        spec.add_sensor(name=f"{joint}_torque", type=torque, objtype=actuator, objname=joint)
    spec.add_sensor(name="accelerometer", type=mujoco.mjtSensor.mjSENS_ACCELEROMETER, objtype=mujoco.mjtObj.mjOBJ_SITE, objname="imu")
    for site in FOOT_SITES:
        spec.add_sensor(name=f"{site}_force", type=mujoco.mjtSensor.mjSENS_TOUCH, objtype=mujoco.mjtObj.mjOBJ_SITE, objname=site)
    for site in FOOT_SITES:
        spec.add_sensor(name=f"{site}_pos", type=mujoco.mjtSensor.mjSENS_FRAMEPOS, objtype=mujoco.mjtObj.mjOBJ_SITE, objname=site)
    for site in FOOT_SITES:
        spec.add_sensor(name=f"{site}_vel", type=mujoco.mjtSensor.mjSENS_FRAMELINVEL, objtype=mujoco.mjtObj.mjOBJ_SITE, objname=site)
