"""The T265's driver over the shipped double of the vendor's library, in real time: every wait here is a camera's."""

import math
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.driver import DriverError
from robot.rotation import rotate_to_body
from robot.still_driver import StillDriver
from robot.velocity.t265 import T265, pose_sample
from robot.velocity.tracked import Glitch
from twin.pyrealsense2 import Fault, PyRealSense2, TruePose

LEVEL = np.array([1.0, 0.0, 0.0, 0.0])
NO_ARM = np.zeros(3)
WALKING = TruePose(np.zeros(3), LEVEL, np.array([0.5, 0.1, 0.0]), np.zeros(3))


def state_now():
    driver = StillDriver(clock=time.monotonic)
    driver.connect()
    return driver.read()


def until(condition, timeout_s=3.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


@pytest.fixture
def open_camera():
    opened = []

    def opener(rs):
        opened.append(T265(rs))
        return opened[-1]

    yield opener
    for camera in opened:
        camera.close()
    assert not any(thread.name == "t265" for thread in threading.enumerate())


def raw(x=0.0, y=0.0, z=0.0, w=1.0):
    return SimpleNamespace(x=x, y=y, z=z, w=w)


def test_a_raw_pose_by_hand():
    pose = SimpleNamespace(
        translation=raw(1, 2, 3),
        velocity=raw(0, 0, -1),
        angular_velocity=raw(0, 1, 0),
        rotation=raw(-0.1, 0.2, -0.3, 0.9),
        tracker_confidence=3,
    )
    sample = pose_sample(pose, stamp_s=7.0, origin=2)
    assert sample.position_w.tolist() == [-3, -1, 2]
    assert sample.lin_vel_w.tolist() == [1, 0, 0]  # forward
    assert sample.ang_vel_w.tolist() == [0, 0, 1]  # about up, to the left
    assert sample.quaternion_wxyz.tolist() == [0.9, 0.3, 0.1, 0.2]
    assert (sample.stamp_s, sample.origin) == (7.0, 2)


unit_quaternions = (
    st.tuples(*[st.floats(-1, 1)] * 4).map(np.array).filter(lambda q: np.linalg.norm(q) > 0.1).map(lambda q: q / np.linalg.norm(q))
)
vectors = st.tuples(*[st.floats(-2, 2)] * 3).map(np.array)


@given(quaternion=unit_quaternions, lin_vel_b=vectors, ang_vel_b=vectors, arm=vectors, heading=st.floats(-3, 3))
def test_the_trunks_velocity_comes_back_through_the_cameras_axes(quaternion, lin_vel_b, ang_vel_b, arm, heading):
    to_world = quaternion * [1, -1, -1, -1]
    true = TruePose(np.array([1.0, 2.0, 0.3]), quaternion, rotate_to_body(to_world, lin_vel_b), ang_vel_b)
    start = TruePose(np.array([4.0, 2.0, 0.0]), np.array([math.cos(heading / 2), 0, 0, math.sin(heading / 2)]), NO_ARM, NO_ARM)
    poses = iter([start, true])
    rs = PyRealSense2(lambda: next(poses), arm, noise_std=0.0)
    pipeline, config = rs.pipeline(), rs.config()
    config.enable_stream(rs.stream.pose)
    pipeline.start(config)
    samples = [pose_sample(pipeline.wait_for_frames().get_pose_frame().get_pose_data(), time.monotonic()) for _ in range(2)]
    camera = T265.velocity(SimpleNamespace(newest=lambda: samples[1]), arm)
    velocity = camera.read(state_now())
    assert velocity.source == "t265"
    assert velocity.lin_vel_b == pytest.approx(lin_vel_b, abs=1e-9)
    assert velocity.ang_vel_b == pytest.approx(ang_vel_b, abs=1e-9)


def test_a_camera_is_received_at_its_rate_and_valid(open_camera):
    camera = open_camera(PyRealSense2(lambda: WALKING, noise_std=0.0))
    camera.wait(2.0)
    stamps = set()
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        stamps.add(camera.newest().stamp_s)
        time.sleep(0.001)
    assert len(stamps) > 50
    velocity = camera.velocity(NO_ARM).read(state_now())
    assert velocity.valid and velocity.age_s < 0.1
    assert velocity.lin_vel_b == pytest.approx([0.5, 0.1, 0.0], abs=1e-12)
    assert camera.status.connected and camera.status.restarts == 0 and camera.status.error is None


def test_a_stream_that_went_silent_is_restarted_and_its_new_place_is_no_jump(open_camera):
    place = [np.zeros(3)]
    rs = PyRealSense2(lambda: TruePose(place[0], LEVEL, np.zeros(3), np.zeros(3)), noise_std=0.0)
    camera = open_camera(rs)
    camera.wait(2.0)
    place[0] = np.array([0.15, 0.0, 0.0])
    source = camera.velocity(NO_ARM)
    until(lambda: source.read(state_now()).valid)
    until(lambda: camera.newest().position_w[0] > 0.1)
    assert source.read(state_now()).valid
    rs.faults, place[0] = Fault.LOST, np.array([50.0, 0.0, 0.0])
    until(lambda: not camera.status.connected and camera.status.error is not None)  # the stream has ended, too
    assert not source.read(state_now()).valid
    rs.faults, back_s = Fault(0), time.monotonic()
    until(lambda: (newest := camera.newest()) is not None and newest.stamp_s > back_s)  # not the last pose of before
    assert source.read(state_now()).valid and source.glitch == Glitch(0)
    assert camera.status.restarts == 1 and "no pose" in camera.status.error


def test_a_sample_of_another_start_is_never_a_jump(open_camera):
    rs = PyRealSense2(lambda: WALKING)
    camera = open_camera(rs)
    camera.wait(2.0)
    assert camera.newest().origin == 1
    rs.faults = Fault.LOST
    until(lambda: camera.newest() is None)
    rs.faults = Fault(0)
    until(lambda: camera.newest() is not None)
    assert camera.newest().origin == 2


def test_a_camera_that_is_unplugged_and_comes_back_is_found_again(open_camera):
    rs = PyRealSense2(lambda: WALKING)
    rs.faults = Fault.UNPLUGGED
    camera = open_camera(rs)
    with pytest.raises(DriverError, match=r"no T265 is connected \(found: no camera\); plug it in"):
        camera.wait(0.3)
    rs.faults = Fault(0)
    camera.wait(3.0)
    rs.faults = Fault.UNPLUGGED
    until(lambda: camera.newest() is None and "connected" in camera.status.error)
    rs.faults = Fault(0)
    until(lambda: camera.newest() is not None)
    assert camera.status.connected and camera.status.restarts == 1


def test_another_camera_is_no_t265_and_is_named(open_camera):
    rs = PyRealSense2(lambda: WALKING)
    other = SimpleNamespace(get_info=lambda info: "Intel RealSense D435I")
    rs.context = lambda: SimpleNamespace(query_devices=lambda: [other])
    camera = open_camera(rs)
    with pytest.raises(DriverError, match="found: Intel RealSense D435I"):
        camera.wait(0.2)


def test_what_is_not_a_number_is_never_valid(open_camera):
    rs = PyRealSense2(lambda: WALKING)
    camera = open_camera(rs)
    camera.wait(2.0)
    source = camera.velocity(NO_ARM)
    rs.faults = Fault.NAN
    time.sleep(0.05)
    for _ in range(20):
        assert not source.read(state_now()).valid and Glitch.NON_FINITE in source.glitch
        time.sleep(0.005)
    rs.faults = Fault(0)
    until(lambda: source.read(state_now()).valid)


def test_a_camera_that_does_not_know_where_it_is_says_nothing(open_camera):
    rs = PyRealSense2(lambda: WALKING)
    camera = open_camera(rs)
    camera.wait(2.0)
    rs.faults = Fault.BLIND
    until(lambda: camera.newest() is None)
    source = camera.velocity(NO_ARM)
    assert not source.read(state_now()).valid and source.glitch == Glitch.ABSENT
    time.sleep(0.7)
    assert camera.status.connected and camera.status.restarts == 0  # it still talks: no reason to restart it
    rs.faults = Fault(0)
    until(lambda: source.read(state_now()).valid)


def test_jumps_are_found(open_camera):
    rs = PyRealSense2(lambda: WALKING, seed=1)
    camera = open_camera(rs)
    camera.wait(2.0)
    source = camera.velocity(NO_ARM)
    rs.faults = Fault.JUMPING
    found = []

    def jumped():
        found.append(Glitch.JUMP in (source.read(state_now()), source.glitch)[1])
        return found[-1]

    until(jumped)
    until(lambda: source.read(state_now()).valid)


def test_no_exception_of_the_device_ends_the_thread(open_camera):
    rs = PyRealSense2(lambda: WALKING)
    errors = iter([KeyError("x"), RuntimeError("bad\n thing")])

    def source():
        for error in errors:
            raise error
        return WALKING

    rs.pose_source = source
    camera = open_camera(rs)
    until(lambda: camera.newest() is not None, timeout_s=10.0)
    assert camera.status.error == "bad thing"


def test_a_library_without_the_t265_is_refused_in_one_line():
    rs = PyRealSense2(lambda: WALKING)
    for version in ("2.54.1", "2.55.1.6486", "3.0.0"):
        with pytest.raises(
            DriverError, match=r"^librealsense [\d.]+ does not know the T265 any more; install .*pyrealsense2==2\.53\.1"
        ) as error:
            T265(SimpleNamespace(__version__=version))
        assert "\n" not in str(error.value)
    with pytest.raises(DriverError, match=r"2\.56\.5"):  # as the wheels have it
        T265(SimpleNamespace(pyrealsense2=SimpleNamespace(__version__="2.56.5")))
    rs.__version__ = "2.50.0"
    T265(rs).close()


def test_a_missing_module_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)
    with pytest.raises(DriverError, match=r"pyrealsense2 cannot be imported .*; install librealsense 2\.53\.1.*pip install"):
        T265()


@pytest.mark.parametrize("hanging", ["start", "try_wait_for_frames", "stop"])
def test_close_does_not_wait_for_a_device_that_hangs(hanging, monkeypatch):
    monkeypatch.setattr("robot.velocity.t265.CLOSE_S", 0.3)
    release = threading.Event()
    rs = PyRealSense2(lambda: WALKING)
    vendors = rs.pipeline

    def pipeline(context=None):
        made = vendors(context)
        setattr(made, hanging, lambda *_: release.wait(20.0) and (False, None))
        return made

    rs.pipeline = pipeline
    camera = T265(rs)
    time.sleep(0.1)
    begin = time.monotonic()
    camera.close()
    assert time.monotonic() - begin < 1.0
    assert camera.newest() is None and not camera.status.connected
    release.set()
    until(lambda: not any(thread.name == "t265" for thread in threading.enumerate()))


def test_close_can_be_repeated():
    camera = T265(PyRealSense2(lambda: WALKING))
    camera.wait(2.0)
    begin = time.monotonic()
    camera.close()
    camera.close()
    assert time.monotonic() - begin < 0.5
    assert camera.newest() is None
