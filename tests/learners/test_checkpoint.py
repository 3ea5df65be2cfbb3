"""Checkpoints: they come back as they were, and nothing else comes in."""

import errno
import os
import pickle
import resource
import zipfile
from collections import OrderedDict

import pytest
import torch

from common.errors import QuadloopError
from learners.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from learners.policy import GaussianPolicy


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"weights": torch.arange(1000.0), "step": 7})
    return path


def refused(path):
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert isinstance(caught.value, QuadloopError)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_was_saved_comes_back(tmp_path):
    policy = GaussianPolicy(3, 2, (4,))
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    policy.entropy().backward()
    optimizer.step()
    path = tmp_path / "new" / "folder" / "checkpoint.pt"
    plain = {"step": 12, "rate": 0.1, "names": ["a", "b"], "none": None}
    save_checkpoint(path, {"policy": policy.state_dict(), "optimizer": optimizer.state_dict(), "plain": plain})
    content = load_checkpoint(path)
    assert content["plain"] == plain
    assert isinstance(content["policy"], OrderedDict)
    other = GaussianPolicy(3, 2, (4,))
    other.load_state_dict(content["policy"])
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), other.parameters(), strict=True))
    assert torch.equal(content["optimizer"]["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])


def test_saving_again_replaces_the_file_and_leaves_nothing_beside_it(good):
    save_checkpoint(good, {"step": 8})
    assert load_checkpoint(good) == {"step": 8}
    assert list(good.parent.iterdir()) == [good]


def test_a_save_that_fails_leaves_the_old_checkpoint(good):
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save_checkpoint(good, {"step": lambda: None})
    assert load_checkpoint(good)["step"] == 7
    assert list(good.parent.iterdir()) == [good]


def test_a_disk_that_takes_no_more_is_an_error_that_names_the_file(good):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError) as caught:
            save_checkpoint(good, {"weights": torch.arange(2000.0)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG and caught.value.filename == str(good)
    assert load_checkpoint(good)["step"] == 7
    assert list(good.parent.iterdir()) == [good]


def test_the_same_content_is_the_same_file_whatever_its_name(good):
    other = good.with_name("other.pt")
    save_checkpoint(other, {"weights": torch.arange(1000.0), "step": 7})
    assert other.read_bytes() == good.read_bytes()


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))], ids=["torch", "pickle"])
def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path, save):
    path, trace = tmp_path / "evil.pt", tmp_path / "ran"
    save({"weights": torch.zeros(2), "evil": Evil(f"touch {trace}")}, path)
    assert "weights_only" not in refused(path)  # torch's own words say how to run it
    assert not trace.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(good, share):
    content = good.read_bytes()
    good.write_bytes(content[: int(share * len(content))])
    refused(good)


def test_a_missing_checkpoint_is_refused(tmp_path):
    assert "No such file" in refused(tmp_path / "absent.pt")


def test_a_folder_is_refused(tmp_path):
    refused(tmp_path)


@pytest.mark.parametrize("content", [b"hello\nworld\n", b"\x80", b"PK\x03\x04" + bytes(100), bytes(4096)])
def test_foreign_bytes_are_refused(tmp_path, content):
    path = tmp_path / "foreign.pt"
    path.write_bytes(content)
    refused(path)


def test_a_checkpoint_that_is_no_dictionary_is_refused(tmp_path):
    path = tmp_path / "tensor.pt"
    torch.save(torch.zeros(3), path)
    assert "no dictionary" in refused(path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "huge.pt"
    with path.open("wb") as file:
        file.truncate(2**31 + 1)  # sparse: takes no space
    assert refused(path) == f"{path} is larger than 2147483648 bytes; no checkpoint of quadloop is"


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(good, tmp_path):
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(good) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bomb:
        for member in archive.infolist():
            bomb.writestr(member.filename, archive.read(member))
        bomb.infolist()[0].file_size = 2**31 + 1  # as its table of contents would say of two gigabytes of zeros
    assert refused(packed) == f"{packed} is larger than 2147483648 bytes; no checkpoint of quadloop is"
