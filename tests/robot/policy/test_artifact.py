"""A policy artifact: what is written loads and acts; whatever does not fit this robot is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from common.files import FileExistsAlreadyError, sha256_of_file
from robot import go1
from robot.observation import GO1_LAYOUT, SLOT_17_TIMING, ObservationLayout, go1_layout
from robot.policy.artifact import ArtifactError, PolicyArtifact, keep_or_write_artifact, layout_json, load_artifact, write_artifact
from tests.robot.policy.broken_artifacts import MISFITS, OTHER_GRAPHS, OTHER_LAYOUTS, change_metadata, change_model, make_graph, set_weights

PARENT = "0123456789abcdef" * 4


def write(path: Path, model: onnx.ModelProto | None = None, **options: Any) -> PolicyArtifact:
    return write_artifact(path, (model or make_graph()).SerializeToString(), "pretrained", PARENT, **options)


@pytest.fixture(scope="module")
def good_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "policy.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robot.policy.artifact.git_revision", lambda: "abc123")
        write(path)
    return path.read_bytes()


@pytest.fixture
def good(tmp_path: Path, good_bytes: bytes) -> Path:
    (tmp_path / "policy.onnx").write_bytes(good_bytes)
    return tmp_path / "policy.onnx"


def refusal(path: Path) -> str:
    """The one line that refuses `path`, without the path that it must begin with."""
    with pytest.raises(ArtifactError) as caught:
        load_artifact(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


# --- what is written loads and acts


def test_round_trip(good: Path) -> None:
    artifact = load_artifact(good)
    metadata = artifact.metadata
    assert artifact.path == good
    assert artifact.sha256 == sha256_of_file(good)
    assert (metadata.schema_version, metadata.robot, metadata.stage) == (1, "unitree_go1", "pretrained")
    assert (metadata.kp, metadata.kd, metadata.control_dt_s, metadata.action_clip) == (20.0, 0.5, 0.02, 10.0)
    assert metadata.joint_names == go1.JOINT_NAMES
    assert metadata.default_joint_pos[:3] == (0.1, 0.8, -1.5)
    assert metadata.action_scale[:3] == (0.125, 0.25, 0.25)
    assert metadata.layout == GO1_LAYOUT
    assert (metadata.parent_sha256, metadata.git_revision) == (PARENT, "abc123")


def test_written_and_loaded_are_the_same(tmp_path: Path) -> None:
    written = write(tmp_path / "policy.onnx")
    loaded = load_artifact(tmp_path / "policy.onnx")
    assert written.metadata == loaded.metadata
    assert written.sha256 == loaded.sha256


def test_a_policy_with_a_normaliser_layer_norm_and_a_std_for_each_observation_acts(tmp_path: Path) -> None:
    model = make_graph(std_of_batch=True)
    del model.graph.node[:]
    node = onnx.helper.make_node
    model.graph.node.extend([
        node("Sub", ["observation_history", "centre"], ["x"]), node("Div", ["x", "scale"], ["y"]),
        node("Clip", ["y", "low", "high"], ["z"]), node("LayerNormalization", ["z", "scale"], ["normal"]),
        node("MatMul", ["normal", "weight"], ["linear"]),
        node("Add", ["linear", "bias"], ["biased"]), node("Elu", ["biased"], ["hidden"]), node("Tanh", ["hidden"], ["action_mean"]),
        node("Shape", ["action_mean"], ["shape"]), node("Expand", ["std", "shape"], ["action_std"]),
    ])  # fmt: skip
    weights = {"centre": np.full(290, 0.1), "scale": np.full(290, 2.0), "low": np.array(-5.0), "high": np.array(5.0)}
    model.graph.initializer.extend(numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items())
    write(tmp_path / "policy.onnx", model)
    history = np.random.default_rng(0).standard_normal((3, 290))
    mean, std = load_artifact(tmp_path / "policy.onnx").act(history)
    assert mean.shape == std.shape == (3, 12)
    normal = history.clip(-9.9, 10.1)
    normal = 2.0 * (normal - normal.mean(axis=1, keepdims=True)) / normal.std(axis=1, keepdims=True)
    linear = 0.5 * normal[:, :12] + 1.0
    assert mean == pytest.approx(np.tanh(np.where(linear > 0, linear, np.expm1(linear))), abs=1e-4)
    assert (std == 0.5).all()


def test_a_seed_writes_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    hashes = [write(tmp_path / f"{number}.onnx", seed=seed).sha256 for number, seed in enumerate((3, 3, 4))]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_other_meaning_of_slot_17_and_no_parent(tmp_path: Path) -> None:
    layout = go1_layout(SLOT_17_TIMING)
    write_artifact(tmp_path / "p.onnx", make_graph().SerializeToString(), "imported", None, layout=layout)
    metadata = load_artifact(tmp_path / "p.onnx").metadata
    assert metadata.layout == layout
    assert metadata.parent_sha256 is None


def test_golden_pairs_are_plausible_and_in_the_file(good: Path) -> None:
    golden = json.loads(onnx.load(good).metadata_props[0].value)["golden"]
    histories = np.array(golden["observation_history"])
    assert histories.shape == (8, 290)
    np.testing.assert_allclose(np.linalg.norm(histories[:, :3], axis=1), 1.0, atol=1e-6)  # unit gravity
    assert np.abs(histories).max() < 10.0
    assert np.array(golden["action_mean"]).shape == np.array(golden["action_std"]).shape == (8, 12)


def test_act_by_hand_in_all_four_shapes(good: Path) -> None:
    artifact = load_artifact(good)
    history = np.zeros((5, 58), dtype=np.float32)
    history[0, :3] = (1.0, 2.0, -4.0)
    expected = [1.5, 2.0, -1.0, *[1.0] * 9]  # half the first values, plus one
    for single in (history, history.reshape(290)):
        mean, std = artifact.act(single)
        assert mean.dtype == std.dtype == np.float32
        assert mean.tolist() == expected
        assert std.tolist() == [0.5] * 12
    for batch in (np.stack([history, history * 0]), np.stack([history, history * 0]).reshape(2, 290)):
        mean, std = artifact.act(batch)
        assert mean.tolist() == [expected, [1.0] * 12]
        assert std.tolist() == [0.5] * 12


def test_a_std_that_depends_on_the_observation(tmp_path: Path) -> None:
    artifact = write(tmp_path / "p.onnx", make_graph(std_of_batch=True))
    _, std = artifact.act(np.zeros(290, dtype=np.float32))
    assert std.shape == (12,)
    np.testing.assert_allclose(std, 2.718282, rtol=1e-6)  # exp(1)
    assert artifact.act(np.zeros((7, 5, 58), dtype=np.float32))[1].shape == (7, 12)


def test_a_batch_of_five_flat_histories_is_no_single_history(good: Path) -> None:
    assert load_artifact(good).act(np.zeros((5, 290), dtype=np.float32))[0].shape == (5, 12)


@pytest.mark.parametrize("shape", [(), (58,), (289,), (10, 29), (2, 10, 29), (1, 2, 5, 58)])
def test_act_refuses_other_shapes(good: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ArtifactError, match="histories of shape"):
        load_artifact(good).act(np.zeros(shape, dtype=np.float32))


def test_layout_json_is_what_the_artifact_carries(good: Path) -> None:
    assert json.loads(layout_json(GO1_LAYOUT)) == json.loads(onnx.load(good).metadata_props[0].value)["layout"]


# --- writing


def test_an_existing_file_is_kept_unless_forced(good: Path) -> None:
    before = good.read_bytes()
    with pytest.raises(FileExistsAlreadyError):
        write(good)
    assert good.read_bytes() == before
    assert write(good, seed=1, force=True).sha256 == sha256_of_file(good)


def test_what_holds_the_same_graph_and_parent_is_kept_with_the_revision_that_made_it(
    tmp_path: Path, at_revision: Callable[[str], None]
) -> None:
    path, graph = tmp_path / "policy.onnx", make_graph().SerializeToString()
    for graph_now, parent, revision, kept in [
        (graph, None, "first", "first"), (graph, None, "second", "first"), (graph, "ab" * 32, "third", "third"),
        (make_graph(std=np.full(12, 0.3, np.float32)).SerializeToString(), "ab" * 32, "fourth", "fourth"),
    ]:  # fmt: skip
        at_revision(revision)
        artifact = keep_or_write_artifact(path, graph_now, "offline", parent)
        assert artifact.metadata.git_revision == load_artifact(path).metadata.git_revision == kept
    path.write_bytes(b"cut short")
    at_revision("fifth")
    assert keep_or_write_artifact(path, graph, "offline", None).metadata.git_revision == "fifth"


def test_a_graph_that_would_not_load_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"p\.onnx: the action std must be positive"):
        write(tmp_path / "p.onnx", make_graph(std=np.zeros(12, dtype=np.float32)))
    assert list(tmp_path.iterdir()) == []


def test_a_new_contract_replaces_the_old_one(good: Path, tmp_path: Path) -> None:
    again = write_artifact(tmp_path / "again.onnx", good.read_bytes(), "offline", sha256_of_file(good))
    assert again.metadata.stage == "offline"
    assert again.metadata.parent_sha256 == sha256_of_file(good)


def test_a_layout_of_another_robot_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="observation layout"):
        write(tmp_path / "p.onnx", layout=ObservationLayout(GO1_LAYOUT.terms, history=4))


# --- files that are no policies


def test_no_file(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.onnx")


def test_a_directory(tmp_path: Path) -> None:
    assert "directory" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello, I am a policy", b"\x89HDF\r\n\x1a\n" + bytes(100), b"\x08\x08" * 10])
def test_not_an_onnx_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.onnx").write_bytes(content)
    assert "not an ONNX file" in refusal(tmp_path / "p.onnx")


def test_a_file_that_was_cut_short(tmp_path: Path) -> None:
    wide = make_graph()
    wide.graph.initializer.append(numpy_helper.from_array(np.zeros(100_000, dtype=np.float32), "spare"))
    path = write(tmp_path / "p.onnx", wide).path
    path.write_bytes(path.read_bytes()[:200_000])
    assert refusal(path) == "not an ONNX file, or cut short; a policy released with Uni-O4 becomes one by quadloop import"


def test_a_file_that_is_too_large_is_not_parsed(tmp_path: Path) -> None:
    with (tmp_path / "p.onnx").open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    assert "larger than 64 MB" in refusal(tmp_path / "p.onnx")


def test_an_onnx_file_of_somebody_else(tmp_path: Path) -> None:
    onnx.save(make_graph(), tmp_path / "p.onnx")
    assert "0 'quadloop' metadata entries" in refusal(tmp_path / "p.onnx")


def test_cut_and_flipped_files_are_refused_or_load(good: Path, tmp_path: Path) -> None:
    content, random = good.read_bytes(), np.random.default_rng(0)
    for trial in range(60):
        damaged = bytearray(content)
        if trial % 2:
            del damaged[random.integers(len(content)) :]
        else:
            damaged[random.integers(len(content))] ^= int(random.integers(1, 256))
        (tmp_path / "damaged.onnx").write_bytes(damaged)
        try:
            load_artifact(tmp_path / "damaged.onnx")
        except ArtifactError as error:
            assert "\n" not in str(error)


# --- metadata


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1, 2]", '"text"', "null", '{"schema_version": NaN}', "[" * 100_000, '{"schema_version": ' + "9" * 10_000 + "}"],
)
def test_metadata_that_are_no_json_object(good: Path, text: str) -> None:
    change_model(good, lambda model: setattr(model.metadata_props[0], "value", text))
    assert "metadata" in refusal(good)


def test_metadata_of_an_absurd_length(good: Path) -> None:
    change_model(good, lambda model: setattr(model.metadata_props[0], "value", " " * 1_000_001))
    assert "at most 1,000,000 are read" in refusal(good)


def test_two_contracts_in_one_file(good: Path) -> None:
    change_model(good, lambda model: model.metadata_props.add(key="quadloop", value="{}"))
    assert "2 'quadloop' metadata entries" in refusal(good)


KEYS = (
    "schema_version", "robot", "joint_names", "default_joint_pos", "action_scale", "kp", "kd", "control_dt_s", "layout",
    "action_clip", "stage", "parent_sha256", "git_revision", "golden",
)  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_named(good: Path, key: str) -> None:
    change_metadata(good, lambda metadata: metadata.pop(key))
    assert f"lack '{key}'" in refusal(good)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", [True, [[]], {}, -1, 1e300, [None] * 12])
def test_a_value_of_the_wrong_type_is_refused(good: Path, key: str, value: Any) -> None:
    change_metadata(good, lambda metadata: metadata.update({key: value}))
    assert refusal(good)


@pytest.mark.parametrize(("key", "value", "named"), MISFITS)
def test_what_does_not_fit_this_robot_is_named(good: Path, key: str, value: Any, named: str) -> None:
    change_metadata(good, lambda metadata: metadata.update({key: value}))
    assert named in refusal(good)


@pytest.mark.parametrize("change", OTHER_LAYOUTS)
def test_another_layout(good: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    change_metadata(good, lambda metadata: change(metadata["layout"]))
    assert "observation layout" in refusal(good)


@pytest.mark.parametrize("key", ["action_mean", "action_std"])
def test_golden_pairs_of_other_weights_are_refused_with_the_difference(good: Path, key: str) -> None:
    def more(metadata: dict[str, Any]) -> None:
        metadata["golden"][key][5][3] += 0.25

    change_metadata(good, more)
    assert "golden pairs differ by 0.25 (at most 1e-05)" in refusal(good)


def test_golden_pairs_within_the_tolerance_pass(good: Path) -> None:
    def a_little_more(metadata: dict[str, Any]) -> None:
        metadata["golden"]["action_std"][0][0] += 5e-6

    change_metadata(good, a_little_more)
    load_artifact(good)


@pytest.mark.parametrize(("divided", "named"), [(False, "golden pairs differ by [1-9]"), (True, "golden pairs differ by nan")])
def test_a_policy_that_answers_a_row_alone_otherwise_than_in_a_batch_is_refused(tmp_path: Path, divided: bool, named: str) -> None:
    """Actions less their mean over the batch, which alone are 0 whatever the observation, or, over their spread, no numbers."""
    model = make_graph(np.random.default_rng(0).standard_normal((290, 12)).astype(np.float32))
    node = onnx.helper.make_node
    model.graph.node[0].output[0] = "raw"
    model.graph.node.extend([
        node("ReduceMean", ["raw"], ["middle"], axes=[0]), node("Sub", ["raw", "middle"], ["centred"]),
        node("ReduceL2", ["centred"], ["spread"], axes=[0]),
        node("Div", ["centred", "spread"], ["action_mean"]) if divided else node("Identity", ["centred"], ["action_mean"]),
    ])  # fmt: skip
    with pytest.raises(ArtifactError, match=named):
        write(tmp_path / "p.onnx", model)
    assert list(tmp_path.iterdir()) == []


def test_golden_pairs_of_another_size(good: Path) -> None:
    change_metadata(good, lambda metadata: metadata["golden"]["action_mean"].pop())
    assert "golden 'action_mean' is not 8 x 12 numbers" in refusal(good)


# --- the graph


@pytest.mark.parametrize(("change", "named"), OTHER_GRAPHS)
def test_a_graph_that_may_not_run_is_named(good: Path, change: Callable[[onnx.ModelProto], Any], named: str) -> None:
    change_model(good, change)
    assert named in refusal(good)


def test_a_network_of_another_observation_size_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"shape \(batch, 58\), not \(batch, 290\)"):
        write(tmp_path / "p.onnx", make_graph(observation_size=58))


def test_a_std_that_is_not_finite(tmp_path: Path) -> None:
    weight = np.zeros((290, 12), dtype=np.float32)
    weight[2] = -1000.0  # times gravity, about -1: exp of 1001 overflows
    with pytest.raises(ArtifactError, match="action std is not finite"):
        write(tmp_path / "p.onnx", make_graph(weight, std_of_batch=True))


def test_a_graph_that_lies_about_its_output_shape(good: Path) -> None:
    change_model(good, lambda model: set_weights(model, "std", np.full((1, 12), 0.5, dtype=np.float32)))
    assert refusal(good)
