import errno
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from robot.driver import DriverError
from robot.unitree.exclusive import DIRECTORY, Exclusive

HOLDER = """
import sys
from robot.unitree.exclusive import Exclusive
lock = Exclusive(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def open_files():
    return {link.name for link in Path("/proc/self/fd").iterdir()}


@pytest.fixture
def path():
    """Where the lock of the test's own robot is."""
    with tempfile.NamedTemporaryFile(dir=DIRECTORY, prefix="quadloop-test-", suffix=".lock", delete=False) as made:
        path = Path(made.name)
    path.unlink()
    yield path
    path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)


@pytest.fixture
def name(path):
    return path.stem.removeprefix("quadloop-")


@pytest.fixture
def holder(name, root):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, name], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_it_is_taken_given_back_and_taken_again(name):
    lock = Exclusive(name)
    for _ in range(3):
        lock.acquire()
        assert lock.fd >= 0
        lock.release()
        lock.release()  # idempotent
        assert lock.fd == -1


def test_the_second_is_refused_with_the_first_ones_process_id(name, holder):
    with pytest.raises(DriverError, match=rf"another controller \(process {holder.pid}\) drives this robot; stop it first"):
        Exclusive(name).acquire()


def test_also_within_one_process(name):
    first, second = Exclusive(name), Exclusive(name)
    first.acquire()
    with pytest.raises(DriverError, match=str(os.getpid())):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_robots_do_not_exclude_each_other(name):
    first, second = Exclusive(name), Exclusive(name + "2")
    first.acquire()
    second.acquire()
    first.release()
    second.release()


def test_a_killed_holder_gives_it_back(name, holder):
    holder.kill()
    holder.wait()
    lock = Exclusive(name)
    lock.acquire()
    lock.release()


def test_a_child_keeps_it_and_the_refusal_says_that_the_holder_died(name, root):
    child = "import subprocess as s\nprint(s.Popen(['sleep', '30'], pass_fds=[lock.fd], stdout=s.DEVNULL, stderr=s.DEVNULL).pid)"
    script = HOLDER.replace("sys.stdin.read()", child)
    holder = subprocess.run([sys.executable, "-W", "ignore", "-c", script, name], cwd=root, capture_output=True, text=True, check=True)
    child = int(holder.stdout.split()[1])
    lock = Exclusive(name)
    with pytest.raises(DriverError, match=r"has died and its robot is still being damped; try again"):
        lock.acquire()
    os.kill(child, 9)
    for _ in range(500):
        try:
            lock.acquire()
            break
        except DriverError:
            time.sleep(0.01)
    assert lock.fd >= 0
    lock.release()


def test_a_refusal_leaks_nothing(name, holder):
    before = open_files()
    for _ in range(20):
        with pytest.raises(DriverError):
            Exclusive(name).acquire()
    assert open_files() == before


def test_a_lock_without_a_holders_name_is_refused_too(name, holder, path):
    os.truncate(path, 0)
    with pytest.raises(DriverError, match="process unknown"):
        Exclusive(name).acquire()


def test_a_lock_that_cannot_be_opened(name, path):
    path.mkdir()
    with pytest.raises(DriverError, match=r"the lock .* cannot be opened"):
        Exclusive(name).acquire()


def test_a_lock_that_cannot_be_signed_is_given_back(name, monkeypatch):
    def refuse(_fd, _text):
        raise OSError(errno.ENOSPC, "No space left on device")

    before, lock = open_files(), Exclusive(name)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        with pytest.raises(DriverError, match=r"the lock .* cannot be signed \(No space left on device\)"):
            lock.acquire()
    assert lock.fd == -1 and open_files() == before
    lock.acquire()
    lock.release()


def test_a_link_laid_in_its_place_is_not_followed(name, path, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    path.symlink_to(precious)
    with pytest.raises(DriverError, match="cannot be opened"):
        Exclusive(name).acquire()
    assert precious.read_text() == "keep me"
