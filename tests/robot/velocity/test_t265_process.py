"""The camera's process, over a double that it imports by name."""

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from robot.driver import DriverError
from robot.still_driver import StillDriver
from robot.velocity.t265_process import T265Process

DOUBLE = """
import os
import numpy as np
from pathlib import Path
from twin.pyrealsense2 import Fault, PyRealSense2, TruePose

HERE = Path(__file__).parent
TRUE = TruePose(np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.5, 0.0, 0.0]), np.array([0.0, 0.0, 0.2]))


def made():
    rs = PyRealSense2(lambda: TRUE, noise_std=0.0)

    def pose():
        if (HERE / "talks").exists():
            print("a warning of the library's " * 100, flush=True)
        rs.faults = Fault.NAN if (HERE / "nan").exists() else Fault.UNPLUGGED if (HERE / "unplugged").exists() else Fault(0)
        return TRUE

    rs.pose_source = pose
    return rs


def too_new():
    rs = made()
    rs.__version__ = "2.55.1"
    return rs
"""


def state_now():
    driver = StillDriver(clock=time.monotonic)
    driver.connect()
    return driver.read()


def until(condition, timeout_s=10.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def is_alive(pid):
    """Not counting one that has ended and that nobody has asked about."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def double(tmp_path, monkeypatch):
    (tmp_path / "camera_double.py").write_text(DOUBLE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def camera(double):
    camera = T265Process("camera_double:made")
    yield camera
    camera.close()


def test_poses_come_out_of_the_process_and_go_stale_with_it(double, camera):
    camera.wait(5.0)
    source = camera.velocity(np.array([0.1, 0.0, 0.0]))
    velocity = source.read(state_now())
    assert velocity.valid and velocity.source == "t265" and velocity.age_s < 0.1
    assert velocity.lin_vel_b == pytest.approx([0.5, -0.02, 0.0], abs=1e-9)
    assert velocity.ang_vel_b == pytest.approx([0.0, 0.0, 0.2], abs=1e-9)
    assert camera.status.connected and camera.status.error is None
    (double / "nan").touch()
    until(lambda: not source.read(state_now()).valid)
    (double / "nan").unlink()
    until(lambda: source.read(state_now()).valid)
    os.kill(camera.pid, signal.SIGSTOP)
    until(lambda: not source.read(state_now()).valid and not camera.status.connected)
    os.kill(camera.pid, signal.SIGCONT)
    until(lambda: source.read(state_now()).valid)


def test_a_process_that_dies_is_started_again(camera):
    camera.wait(5.0)
    pid, origin = camera.pid, camera.newest().origin
    os.kill(pid, signal.SIGKILL)
    until(lambda: camera.pid != pid)
    source = camera.velocity(np.zeros(3))
    until(lambda: source.read(state_now()).valid)
    assert camera.status.restarts == 1 and camera.newest().origin != origin


def test_what_the_library_prints_does_not_fill_a_disk(double, camera):
    camera.wait(5.0)
    printed, sizes = Path(f"/proc/{camera.pid}/fd/1"), []

    def emptied():
        sizes.append(printed.stat().st_size)
        return sum(later < earlier for earlier, later in pairwise(sizes)) > 2

    (double / "talks").touch()
    until(emptied)
    assert max(sizes) < 2**20 and camera.newest() is not None


def test_close_ends_the_process_even_if_it_hangs(camera):
    camera.wait(5.0)
    pid = camera.pid
    os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    camera.close()
    camera.close()
    assert time.monotonic() - begin < 4.0
    assert not is_alive(pid)
    assert camera.newest() is None and not camera.status.connected


def test_the_process_does_not_outlive_its_parent(double, root):
    script = (
        "import time; from robot.velocity.t265_process import T265Process; "
        "print(T265Process('camera_double:made').pid, flush=True); time.sleep(60)"
    )
    paths = os.pathsep.join([str(double), str(root)])
    with subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
    until(lambda: not is_alive(pid))


@pytest.mark.parametrize(
    ("module", "complaint"),
    [
        ("camera_double:too_new", r"^librealsense 2\.55\.1 does not know the T265 .* pip install"),
        ("no_such_module", r"^no_such_module cannot stand in for pyrealsense2: No module"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(double, module, complaint):
    with pytest.raises(DriverError, match=complaint) as error:
        T265Process(module)
    assert "\n" not in str(error.value)
