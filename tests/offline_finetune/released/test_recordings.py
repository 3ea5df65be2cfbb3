"""Released states in SI units and body frames; hostile files are refused in one line that names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from offline_finetune.released.file import ReleasedFileError
from offline_finetune.released.recordings import attitude, estimated_torque, read_recording
from tests.offline_finetune.made_data import standing_states, tilted

Write = Callable[..., Path]


def test_scaled_values_come_out_in_si_units(write_released: Write) -> None:
    states = standing_states(3)
    states[:, 3:6] = [1.0, -0.5, 0.25]  # command vx, vy, yaw rate, scaled by 2, 2, 0.25
    states[:, 18] = 0.2  # first joint, 0.1 at default
    states[:, 30] = 0.05  # its velocity, scaled by 0.05
    recording = read_recording(write_released(states))
    assert recording.command[1, :3] == pytest.approx([0.5, -0.25, 1.0])
    assert recording.joint_pos[1, 0] == pytest.approx(0.3)
    assert recording.joint_vel[1, 0] == pytest.approx(1.0)


def test_velocities_are_turned_from_the_world_into_the_body(write_released: Write) -> None:
    states = standing_states(3)
    states[:, 69] = np.pi / 2  # yaw: the robot looks along the world's y
    states[:, 61:64] = [0.0, 0.7, 0.1]
    states[:, 70:73] = [0.0, 0.2, 0.3]
    recording = read_recording(write_released(states))
    assert recording.base_lin_vel_b[1] == pytest.approx([0.7, 0.0, 0.1])
    assert recording.base_ang_vel_b[1] == pytest.approx([0.2, 0.0, 0.3])


def test_the_attitude_takes_roll_and_pitch_from_gravity_and_yaw_from_the_camera() -> None:
    half, root = 0.5, np.sqrt(0.5)
    upright_turned = attitude(np.array([[0.0, 0.0, -1.0]]), np.array([np.pi / 2]))
    rolled_left = attitude(np.array([[0.0, -1.0, 0.0]]), np.array([0.0]))  # roll 90 degrees: gravity along -y
    nose_down_30 = attitude(np.array([[half, 0.0, -np.sqrt(0.75)]]), np.array([0.0]))
    assert upright_turned[0] == pytest.approx([root, 0, 0, root])
    assert rolled_left[0] == pytest.approx([root, root, 0, 0])
    assert nose_down_30[0] == pytest.approx([np.cos(np.pi / 12), 0, np.sin(np.pi / 12), 0])


def test_the_torque_is_that_of_the_pd_law_within_the_limits() -> None:
    last_action, joint_vel = np.zeros((1, 12)), np.zeros((1, 12))
    joint_pos = np.array([[0.1, 0.8, -1.5, -0.1, 0.8, -1.5, 0.1, 1.0, -1.5, -0.1, 1.0, -1.5]])
    last_action[0, :3] = [1.0, 5.0, 10.0]  # hip 0.125 rad, thigh 1.25 rad, calf 2.5 rad beyond the joint
    joint_vel[0, 0] = 2.0
    torque = estimated_torque(last_action, joint_pos, joint_vel)
    # hip 20 x 0.125 - 0.5 x 2; thigh 25, above 23.7; calf 50, above 35.55
    assert torque[0, :4] == pytest.approx([1.5, 23.7, 35.55, 0.0])


def test_a_stale_first_frame_is_replaced_by_the_next_reading(write_released: Write) -> None:
    states = standing_states(3)
    states[0, :3], states[0, 18], states[0, 42] = tilted(90), 1.2, 7.0  # left over from the fall before
    states[1, 18], states[1, 42] = 0.2, 3.0
    actions = np.zeros((3, 12))
    actions[0, 0] = 3.0
    recording = read_recording(write_released(states, actions))
    assert recording.gravity_b[0] == pytest.approx([0, 0, -1])
    assert recording.joint_pos[0, 0] == pytest.approx(0.3)
    assert recording.last_action[:2, 0] == pytest.approx([0.0, 3.0])


def _with(**data: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        for name, value in data.items():
            del file[name]
            file[name] = value

    return change


def _external_link(file: h5py.File) -> None:
    del file["states"]
    file["states"] = h5py.ExternalLink("other.hdf5", "/states")


def _soft_link(file: h5py.File) -> None:
    del file["states"]
    file["states"] = h5py.SoftLink("/actions")


def _outside(file: h5py.File) -> None:
    del file["states"]
    file.create_dataset("states", (4, 76), "f8", external=[("/etc/hostname", 0, 4 * 76 * 8)])


def _virtual(file: h5py.File) -> None:
    del file["states"]
    layout = h5py.VirtualLayout((4, 76), "f8")
    layout[:] = h5py.VirtualSource("other.hdf5", "states", (4, 76))
    file.create_virtual_dataset("states", layout)


def _group(file: h5py.File) -> None:
    del file["states"]
    file.create_group("states")


def _endless(file: h5py.File) -> None:
    del file["states"]
    file.create_dataset("states", (10**12, 76), "f8", chunks=(1, 76))


def _huge_chunks(file: h5py.File) -> None:
    del file["states"]
    file.create_dataset("states", (4, 76), "f8", chunks=(10**6, 76), maxshape=(None, 76))


def _removed(file: h5py.File) -> None:
    del file["actions"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_removed, "no 'actions'"),
        (_external_link, "'states' is a link to somewhere else"),
        (_soft_link, "'states' is a link to somewhere else"),
        (_outside, "the values of 'states' lie outside the file"),
        (_virtual, "the values of 'states' lie outside the file"),
        (_group, "'states' is not an array"),
        (_endless, "not floats"),
        (_huge_chunks, "chunks of an absurd size"),
        (_with(states=np.zeros((4, 75))), "not floats"),
        (_with(states=np.zeros(4 * 76)), "not floats"),
        (_with(states=np.zeros((0, 76))), "not floats"),
        (_with(states=np.zeros((4, 76), dtype=np.int64)), "not floats"),
        (_with(states=np.full((4, 76), b"x")), "not floats"),
        (_with(states=np.array([[h5py.Empty("f")] * 76] * 4, dtype=object).astype(str).astype("S")), "not floats"),
        (_with(states=np.full((4, 76), np.nan)), "not finite"),
        (_with(states=np.full((4, 76), -np.inf)), "not finite"),
        (_with(states=np.full((4, 76), 1e300)), "not finite or beyond"),
        (_with(states=np.zeros((4, 76))), "not a unit gravity"),
        (_with(states=standing_states(5)), "5 rows of states but 4 of actions"),
        (_with(actions=np.full((4, 12), 10.5, dtype=np.float32)), "actions beyond +-10"),
        (_with(actions=np.eye(4, 12)), "rows that do not hold the action of the row before; they are not as recorded, leave the file out"),
    ],
)
def test_hostile_files_are_refused(write_released: Write, change: Callable[[h5py.File], None], complaint: str) -> None:
    path = write_released(standing_states(4))
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(ReleasedFileError) as caught:
        read_recording(path)
    message = str(caught.value)
    assert str(path) in message
    assert complaint in message
    assert "\n" not in message


def test_variable_length_objects_are_refused(write_released: Write) -> None:
    path = write_released(standing_states(4))
    with h5py.File(path, "r+") as file:
        del file["actions"]
        file.create_dataset("actions", (4, 12), dtype=h5py.vlen_dtype(np.float32))
    with pytest.raises(ReleasedFileError, match="not floats"):
        read_recording(path)


@pytest.mark.parametrize("content", [b"", b"not HDF5", b"\x89HDF\r\n\x1a\n" + bytes(200)])
def test_files_that_are_not_hdf5_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.hdf5"
    path.write_bytes(content)
    with pytest.raises(ReleasedFileError, match="not a readable released log"):
        read_recording(path)
