"""One HDF5 file of the released Go1 logs: read, checked, and put into the units and frames of the rest of the project.

`states` (N, 76) holds the 58 scaled observation values, then the pose stream of the T265 tracking camera in the world frame of its
start, x forward, y left, z up: position 3 (m), velocity 3 (m/s), acceleration 3, roll-pitch-yaw 3 (rad), angular velocity 3 (rad/s),
angular acceleration 3. `actions` (N, 12) are what the policy put out, within +-10.

Both velocities are in the world frame: turned into the body frame, the angular velocity's x and y follow the rates that the recorded
gravity implies (correlation 0.95 and 0.91 while the robots walked; 0.68 and 0.55 unturned), and the forward speed follows the command
(0.51; 0.27 unturned).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from common.array_types import Float64Array
from common.hdf5_arrays import check_chunks, stored_here
from offline_finetune.released.file import ReleasedFileError, check_size
from robot import go1
from robot.command import MAX_COMMAND
from robot.observation import COMMAND_SLICE, GO1_LAYOUT
from robot.velocity.tracked import world_to_body_velocity

STATE_SIZE = 76
POSITION_W, VELOCITY_W, YAW, ANGULAR_VELOCITY_W = slice(58, 61), slice(61, 64), 69, slice(70, 73)
UNKNOWN_LEVER_ARM_B = np.zeros(3)  # where the camera sat on the trunk was not released
MAX_FILE_BYTES = 512 * 2**20
MAX_ROWS = 500_000  # almost three hours at 50 Hz
MAX_CHUNK_BYTES = 64 * 2**20
MAX_MAGNITUDE = 1e6  # of any value: far beyond anything measured, far below what float32 overflows at
GRAVITY_NORM_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Recording:
    """N rows of one released file. Row t: the frame was read, then the policy acted. Everything in SI units, policy joint order."""

    frames: NDArray[np.float32]  # (N, 58) scaled, as the policy saw them
    actions: NDArray[np.float32]  # (N, 12)
    last_action: Float64Array  # (N, 12) the action before; zero in row 0
    gravity_b: Float64Array  # (N, 3) unit
    command: Float64Array  # (N, 15) unscaled
    joint_pos: Float64Array  # (N, 12) rad
    joint_vel: Float64Array  # (N, 12) rad/s
    joint_torque: Float64Array  # (N, 12) N m, estimated: see `estimated_torque`
    quaternion_wxyz: Float64Array  # (N, 4)
    position_w: Float64Array  # (N, 3) m, with the T265's drift
    base_lin_vel_w: Float64Array  # (N, 3) m/s
    base_lin_vel_b: Float64Array  # (N, 3) m/s
    base_ang_vel_b: Float64Array  # (N, 3) rad/s

    def __len__(self) -> int:
        return len(self.actions)


def read_recording(path: Path) -> Recording:
    """The recording in `path`, or ReleasedFileError naming what is wrong with the file.

    The frame of row 0 never reached the policy, which acted there on a history of zeros: after a fall it is the frame left over
    from the run before. Row 1's sensors, 20 ms younger, stand in for it.
    """
    states, actions = _read_arrays(path)
    frames = states[:, : GO1_LAYOUT.frame_size].copy()
    if len(frames) > 1:
        frames[0] = frames[1]
    frames[0, GO1_LAYOUT.slice_of("last_action")] = 0.0
    gravity = frames[:, GO1_LAYOUT.slice_of("projected_gravity")]
    if np.abs(np.linalg.norm(gravity, axis=1) - 1).max() > GRAVITY_NORM_TOLERANCE:
        raise ReleasedFileError(f"{path}: the first three states are not a unit gravity vector in every row")
    if np.abs(frames[:, COMMAND_SLICE] / GO1_LAYOUT.scales[COMMAND_SLICE]).max() > MAX_COMMAND:
        raise ReleasedFileError(f"{path}: commands beyond +-{MAX_COMMAND:g}, which no robot was asked for")
    if (frames[1:, GO1_LAYOUT.slice_of("last_action")].astype(np.float32) != actions[:-1]).any():
        raise ReleasedFileError(f"{path}: rows that do not hold the action of the row before; they are not as recorded, leave the file out")
    return _recording(frames, states, actions)


def _recording(frames: Float64Array, states: Float64Array, actions: NDArray[np.float32]) -> Recording:
    unscaled = frames / GO1_LAYOUT.scales
    gravity = unscaled[:, GO1_LAYOUT.slice_of("projected_gravity")]
    joint_pos = go1.DEFAULT_JOINT_POS + unscaled[:, GO1_LAYOUT.slice_of("joint_pos")]
    joint_vel = unscaled[:, GO1_LAYOUT.slice_of("joint_vel")]
    last_action = unscaled[:, GO1_LAYOUT.slice_of("last_action")]
    quaternion = attitude(gravity, states[:, YAW])
    lin_vel_b, ang_vel_b = world_to_body_velocity(quaternion, states[:, VELOCITY_W], states[:, ANGULAR_VELOCITY_W], UNKNOWN_LEVER_ARM_B)
    return Recording(
        frames=frames.astype(np.float32), actions=actions, last_action=last_action, gravity_b=gravity,
        command=unscaled[:, COMMAND_SLICE], joint_pos=joint_pos, joint_vel=joint_vel,
        joint_torque=estimated_torque(last_action, joint_pos, joint_vel), quaternion_wxyz=quaternion,
        position_w=states[:, POSITION_W], base_lin_vel_w=states[:, VELOCITY_W],
        base_lin_vel_b=lin_vel_b, base_ang_vel_b=ang_vel_b,
    )  # fmt: skip


def attitude(gravity_b: Float64Array, yaw_rad: Float64Array) -> Float64Array:
    """Body-to-world quaternions (N, 4), wxyz, with the roll and pitch of `gravity_b` (N, 3) and the given yaw (N,).

    R = Rz(yaw) Ry(pitch) Rx(roll), gravity_b = (sin pitch, -sin roll cos pitch, -cos roll cos pitch). Roll and pitch come from the
    robot's own IMU, so that the quaternion agrees with what the policy saw; in the released logs the T265's differ from it by
    1.5 degrees in the median (a mounting angle) and by 9 at most while the robot walks. Only the camera knows the yaw.
    """
    roll = np.arctan2(-gravity_b[:, 1], -gravity_b[:, 2])
    pitch = np.arcsin(np.clip(gravity_b[:, 0], -1.0, 1.0))
    (cr, cp, cy), (sr, sp, sy) = ([f(angle / 2) for angle in (roll, pitch, yaw_rad)] for f in (np.cos, np.sin))
    return np.stack(
        [cr * cp * cy + sr * sp * sy, sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy, cr * cp * sy - sr * sp * cy], axis=-1
    )


def estimated_torque(last_action: Float64Array, joint_pos: Float64Array, joint_vel: Float64Array) -> Float64Array:
    """Torque (N, 12) N m of the motors' PD law, kp (target - joint_pos) - kd joint_vel within the limits.

    The logs hold no torque. This is the law's value at the reading that the previous action led to, not a mean over the control period.
    """
    target = go1.joint_pos_target_of(last_action)
    torque = go1.KP * (target - joint_pos) - go1.KD * joint_vel
    return np.clip(torque, -go1.TORQUE_LIMIT, go1.TORQUE_LIMIT)


def _read_arrays(path: Path) -> tuple[Float64Array, NDArray[np.float32]]:
    check_size(path, MAX_FILE_BYTES)
    try:
        with h5py.File(path, "r") as file:
            states = _read_array(file, "states", STATE_SIZE)
            actions = _read_array(file, "actions", go1.NUM_JOINTS)
    except Exception as error:  # whatever a reader of foreign bytes stumbles over, the file is to blame
        reason = " ".join(str(error).split())[:200]
        raise ReleasedFileError(f"{path}: not a readable released log ({reason})") from error
    if len(states) != len(actions):
        raise ReleasedFileError(f"{path}: {len(states)} rows of states but {len(actions)} of actions")
    if np.abs(actions).max() > go1.ACTION_CLIP:
        raise ReleasedFileError(f"{path}: actions beyond +-{go1.ACTION_CLIP:g}, where the released runs clipped them")
    return states, actions.astype(np.float32)


def _read_array(file: h5py.File, name: str, width: int) -> Float64Array:
    """The data set `name` as float64 (N, width); ValueError unless it is plain finite numbers stored in this very file."""
    if name not in file:
        raise ValueError(f"no '{name}'")
    dataset = stored_here(file, name, ValueError)
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"'{name}' is not an array")
    if dataset.dtype.kind != "f" or dataset.ndim != 2 or dataset.shape[1] != width or not 1 <= dataset.shape[0] <= MAX_ROWS:
        raise ValueError(f"'{name}' is {dataset.dtype} {dataset.shape}, not floats (1 to {MAX_ROWS} rows, {width})")
    check_chunks(dataset, name, MAX_CHUNK_BYTES, ValueError)
    values = np.asarray(dataset[:], dtype=np.float64)
    if not (np.abs(values) <= MAX_MAGNITUDE).all():  # NaN fails the comparison too
        raise ValueError(f"'{name}' has values that are not finite or beyond {MAX_MAGNITUDE:g}")
    return values
