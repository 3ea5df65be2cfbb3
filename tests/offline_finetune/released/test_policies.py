"""Released policies become artifacts that compute the same; files that are no such policy are refused in one line."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.files import FileExistsAlreadyError, sha256_of_file
from offline_finetune.released.file import ReleasedFileError
from offline_finetune.released.policies import import_policy, read_released_policy
from robot.policy.artifact import load_artifact
from tests.offline_finetune.made_data import zero_policy


def saved(path: Path, **changes: Any) -> Path:
    np.savez(path, **zero_policy(**changes))
    return path


def test_the_artifact_computes_what_the_layers_say(tmp_path: Path) -> None:
    weights = [np.zeros(shape, dtype=np.float32) for shape in ((512, 290), (256, 512), (128, 256), (12, 128))]
    for weight in weights:
        weight[0, 0] = 2.0
    changes = {f"layer{index}_weight": weight for index, weight in enumerate(weights)}
    npz = saved(tmp_path / "sim.npz", **changes, layer3_bias=np.full(12, 0.25, dtype=np.float32))

    import_policy(npz, tmp_path / "policy.onnx")

    artifact = load_artifact(tmp_path / "policy.onnx")
    observation = np.zeros((2, 290), dtype=np.float32)
    observation[:, 0] = [0.5, -0.5]
    mean, std = artifact.act(observation)
    # 0.5 -> 1 -> 2 -> 4 -> 8 + 0.25. And -0.5 -> -1, elu e^-1 - 1 = -0.632121; -1.264241 -> -0.717547; -1.435094 -> -0.761907; -1.523813.
    assert mean[:, 0] == pytest.approx([8.25, -1.523813 + 0.25], abs=1e-5)
    assert mean[:, 1:] == pytest.approx(0.25)
    assert np.broadcast_to(std, (2, 12)) == pytest.approx(0.5)
    assert artifact.metadata.stage == "imported"
    assert artifact.metadata.parent_sha256 == sha256_of_file(npz)


def state_dict(prefix: str = "actor_body.") -> dict[str, torch.Tensor]:
    """As released: layers 0, 2, 4, 6 of a sequence, beside whatever else there was."""
    arrays = {name: torch.from_numpy(values) for name, values in zero_policy().items() if name != "std"}
    layers = {f"{prefix}{2 * int(name[5])}.{name[7:]}": values for name, values in arrays.items()}
    layers[f"{prefix}6.bias"] = torch.full((12,), 0.25)
    return layers | {"std": torch.full((12,), 0.45), "critic_body.0.weight": torch.zeros(3, 3), "steps": torch.tensor(3)}


def test_a_released_state_dict_is_read(tmp_path: Path) -> None:
    torch.save(state_dict(), tmp_path / "ac_weights.pt")
    import_policy(tmp_path / "ac_weights.pt", tmp_path / "policy.onnx")
    mean, deviation = load_artifact(tmp_path / "policy.onnx").act(np.zeros((1, 290), np.float32))
    assert mean[0] == pytest.approx(0.25)
    assert np.broadcast_to(deviation, (1, 12))[0] == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"std": None}, "holds no actor with its standard deviation; of a released run take ac_weights_*.pt"),
        ({"std": torch.ones(12, dtype=torch.bfloat16)}, "holds no actor with its standard deviation"),
        ({"actor_body.2.bias": None}, "layer1.bias is not an array of floats of shape (256,)"),
        ({"actor_body.2.bias": torch.ones(256).to_sparse()}, "layer1.bias is not an array of floats of shape (256,)"),
        ({"actor_body.0.weight": torch.full((512, 290), torch.nan)}, "layer0.weight has values that are not finite"),
    ],
)
def test_a_state_dict_of_something_else_is_refused(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    torch.save(state_dict() | changes, tmp_path / "other.pt")
    with pytest.raises(ReleasedFileError) as caught:
        import_policy(tmp_path / "other.pt", tmp_path / "policy.onnx")
    assert complaint in str(caught.value)
    assert not (tmp_path / "policy.onnx").exists()


def test_a_fine_tuned_policy_whose_deviation_can_be_read_in_two_ways_is_refused(tmp_path: Path) -> None:
    torch.save(state_dict("_net."), tmp_path / "pi_latest.pt")
    with pytest.raises(ReleasedFileError, match="holds no actor with its standard deviation"):
        import_policy(tmp_path / "pi_latest.pt", tmp_path / "policy.onnx")


def test_an_artifact_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    npz, out = saved(tmp_path / "sim.npz"), tmp_path / "policy.onnx"
    import_policy(npz, out)
    with pytest.raises(FileExistsAlreadyError):
        import_policy(npz, out)
    import_policy(npz, out, force=True)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"std": np.full(12, np.nan, dtype=np.float32)}, "std has values that are not finite"),
        ({"std": np.zeros(12, dtype=np.float32)}, "std has values that are not positive"),
        ({"std": np.full(12, 1e-60)}, "std has values that are not positive"),
        ({"std": np.full(12, 1e60)}, "std has values that are not finite"),
        ({"std": np.ones(11, dtype=np.float32)}, "std is not an array of floats of shape (12,)"),
        ({"layer0_weight": np.zeros((290, 512), dtype=np.float32)}, "layer0.weight is not an array of floats of shape (512, 290)"),
        ({"layer1_bias": np.zeros(256, dtype=np.int32)}, "layer1.bias is not an array of floats"),
        ({"layer1_bias": np.array([{}] * 256, dtype=object)}, "allow_pickle"),
        ({"layer4_bias": np.zeros(3, dtype=np.float32)}, "not a released policy's"),
    ],
)
def test_arrays_that_are_no_policy_are_refused(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    path = saved(tmp_path / "bad.npz", **changes)
    with pytest.raises(ReleasedFileError) as caught:
        import_policy(path, tmp_path / "policy.onnx")
    message = str(caught.value)
    assert str(path) in message
    assert complaint in message
    assert "\n" not in message
    assert not (tmp_path / "policy.onnx").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x04N.", b"PK\x03\x04" + b"\x00" * 40, b"layer0"])
def test_files_that_are_no_archive_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(ReleasedFileError, match=r"not a readable \.npz"):
        read_released_policy(path)


def test_a_missing_and_a_truncated_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleasedFileError, match="no such file"):
        read_released_policy(tmp_path / "absent.npz")
    path = saved(tmp_path / "cut.npz")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ReleasedFileError, match="not a readable"):
        read_released_policy(path)


def test_a_decompression_bomb_is_refused_unopened(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("std.npy", bytes(17 * 2**20))
    with pytest.raises(ReleasedFileError, match="unpacks to"):
        read_released_policy(path)


def test_a_huge_file_is_refused_unopened(tmp_path: Path) -> None:
    path = tmp_path / "huge.npz"
    with path.open("wb") as file:
        file.truncate(8 * 2**20 + 1)
    with pytest.raises(ReleasedFileError, match="more than the"):
        read_released_policy(path)


@pytest.mark.parametrize("name", ["sim_000200", "sim_000300"])
def test_the_released_policies_load(real_data: Path, name: str) -> None:
    layers, std = read_released_policy(real_data / "go1_mattress" / "policies" / f"{name}.npz")
    assert [weight.shape for weight, _ in layers] == [(512, 290), (256, 512), (128, 256), (12, 128)]
    assert 0.4 < std.min() < std.max() < 0.8
