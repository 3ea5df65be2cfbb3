"""The double against what is known of the camera: its axes, its world, its noise, and how it fails."""

import math
import time

import numpy as np
import pytest

from twin.pyrealsense2 import Fault, PyRealSense2, TruePose

LEVEL = np.array([1.0, 0.0, 0.0, 0.0])
FACING_LEFT = np.array([math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)])  # yaw of +90 degrees
AT_REST = TruePose(np.zeros(3), LEVEL, np.zeros(3), np.zeros(3))


def started(rs):
    pipeline, config = rs.pipeline(rs.context()), rs.config()
    config.enable_stream(rs.stream.pose)
    pipeline.start(config)
    return pipeline


def pose_of(pipeline):
    return pipeline.wait_for_frames(500).get_pose_frame().get_pose_data()


def xyz(vector):
    return [vector.x, vector.y, vector.z]


def test_axes_are_right_up_back():
    moving = TruePose(np.zeros(3), LEVEL, np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 0.3]))
    pose = pose_of(started(PyRealSense2(lambda: moving, noise_std=0.0)))
    assert xyz(pose.velocity) == [-2.0, 3.0, -1.0]
    assert xyz(pose.angular_velocity) == [-0.2, 0.3, -0.1]
    assert [*xyz(pose.rotation), pose.rotation.w] == [0.0, 0.0, 0.0, 1.0]
    assert pose.tracker_confidence == 3


def test_its_world_begins_where_it_was_started():
    where = [TruePose(np.array([5.0, 5.0, 0.3]), FACING_LEFT, np.array([0.0, 0.4, 0.0]), np.zeros(3))]
    pipeline = started(PyRealSense2(lambda: where[0], noise_std=0.0))
    pose = pose_of(pipeline)
    assert xyz(pose.translation) == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)
    assert xyz(pose.velocity) == pytest.approx([0.0, 0.0, -0.4], abs=1e-12)  # it faces left, so this is forward
    assert pose.rotation.w == pytest.approx(1.0)
    where[0] = TruePose(np.array([5.0, 6.0, 0.3]), np.array([0.0, 0.0, 0.0, 1.0]), np.zeros(3), np.zeros(3))  # 1 m on, 90 degrees more
    pose = pose_of(pipeline)
    assert xyz(pose.translation) == pytest.approx([0.0, 0.0, -1.0], abs=1e-12)
    assert [*xyz(pose.rotation), pose.rotation.w] == pytest.approx([0.0, math.sqrt(0.5), 0.0, math.sqrt(0.5)], abs=1e-12)


def test_a_camera_ahead_of_the_centre_is_swung_sideways():
    turning = TruePose(np.zeros(3), LEVEL, np.zeros(3), np.array([0.0, 0.0, 2.0]))
    pose = pose_of(started(PyRealSense2(lambda: turning, lever_arm_b=np.array([0.2, 0.0, 0.0]), noise_std=0.0)))
    assert xyz(pose.velocity) == pytest.approx([-0.4, 0.0, 0.0], abs=1e-12)  # to the left


def test_noise_and_rate_are_a_t265s():
    pipeline = started(PyRealSense2(lambda: AT_REST))
    begin = time.monotonic()
    velocities = np.array([xyz(pose_of(pipeline).velocity) for _ in range(100)])
    assert velocities.std() == pytest.approx(0.02, rel=0.2)
    assert time.monotonic() - begin > 0.4


def test_frames_that_do_not_come_are_the_vendors_error():
    rs = PyRealSense2(lambda: AT_REST)
    pipeline = started(rs)
    rs.faults = Fault.LOST
    with pytest.raises(RuntimeError, match="Frame didn't arrive within 20"):
        pipeline.wait_for_frames(20)
    assert not pipeline.try_wait_for_frames(20)[0]
    rs.faults = Fault(0)
    pose_of(pipeline)
    rs.pose_source = lambda: None
    assert not pipeline.try_wait_for_frames(20)[0]


def test_a_camera_that_was_unplugged_must_be_started_again():
    rs = PyRealSense2(lambda: AT_REST)
    pipeline = started(rs)
    assert "T265" in rs.context().query_devices()[0].get_info(rs.camera_info.name)
    rs.faults = Fault.UNPLUGGED
    assert not pipeline.try_wait_for_frames(20)[0]
    assert rs.context().query_devices() == []
    with pytest.raises(RuntimeError, match="No device connected"):
        started(rs)
    rs.faults = Fault(0)
    assert not pipeline.try_wait_for_frames(20)[0]
    pose_of(started(rs))


def test_misuse_is_an_error_as_it_is_with_the_vendor():
    rs = PyRealSense2(lambda: AT_REST)
    for misuse in (rs.pipeline().stop, rs.pipeline().wait_for_frames, lambda: rs.pipeline().start(rs.config())):
        with pytest.raises(RuntimeError):
            misuse()
    with pytest.raises(RuntimeError):
        pipeline = started(rs)
        pipeline.start(rs.config())


def test_poses_can_be_spoilt():
    rs = PyRealSense2(lambda: AT_REST)
    pipeline = started(rs)
    rs.faults = Fault.NAN | Fault.BLIND
    pose = pose_of(pipeline)
    assert math.isnan(pose.velocity.x) and pose.tracker_confidence == 0
    rs.faults = Fault.JUMPING
    places = np.array([xyz(pose_of(pipeline).translation) for _ in range(200)])
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert set(np.round(steps, 6)) == {0.0, 0.5}


def test_drift_grows_slowly_and_stays_below_a_glitch():
    rs = PyRealSense2(lambda: AT_REST, noise_std=0.0)
    pipeline = started(rs)
    rs.faults = Fault.DRIFTING
    sideways = [-pose_of(pipeline).velocity.x for _ in range(100)]
    assert sideways == pytest.approx(np.arange(1, 101) * 0.5 / 200)
    rs.faults = Fault(0)
    assert pose_of(pipeline).velocity.x == 0.0
