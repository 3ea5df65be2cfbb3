"""The offline stage on made logs, at toy size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from common.files import write_json
from learners.checkpoint import load_checkpoint
from learners.progress import silent
from offline_finetune.config import PRESETS
from offline_finetune.dataset import build_dataset
from offline_finetune.finetune import finetune
from robot.policy.artifact import PolicyArtifact, load_artifact

SMOKE = PRESETS["smoke"]
TINY = replace(SMOKE, uni_o4=replace(SMOKE.uni_o4, iql=replace(SMOKE.uni_o4.iql, steps=10, gamma=0.9)), fqe=replace(SMOKE.fqe, steps=5))


def test_a_finished_stage_keeps_its_policy_and_the_revision_that_made_it(
    write_made: Callable[..., Path], write_policy: Callable[..., PolicyArtifact], tmp_path: Path, at_revision: Callable[[str], None]
) -> None:
    data = build_dataset([write_made(20, session=name) for name in "abc"])
    first, other = write_policy("first"), write_policy("other", mean=1.0)

    def sha256_of_result(start: PolicyArtifact, revision: str) -> str:
        at_revision(revision)
        result = finetune(start.path, data, tmp_path / "out", TINY, 0, silent)
        assert not (tmp_path / "out" / "evidence.json").exists()  # it is not whole before its caller has had a say
        return load_artifact(result.policy).sha256

    made = sha256_of_result(first, "abc")
    assert sha256_of_result(first, "def") == made
    assert load_artifact(tmp_path / "out" / "policy.onnx").metadata.git_revision == "abc"
    assert load_checkpoint(tmp_path / "out" / "value.pt")["gamma"] == 0.9
    assert sha256_of_result(other, "def") != made


def test_an_estimate_that_is_no_number_is_evidence_too(
    write_made: Callable[..., Path], write_policy: Callable[..., PolicyArtifact], tmp_path: Path
) -> None:
    """One enormous step, after whose loss nobody asks any more."""
    data = build_dataset([write_made(20, session=name) for name in "abc"])
    config = replace(TINY, fqe=replace(TINY.fqe, steps=1, learning_rate=1e38))
    evidence = finetune(write_policy().path, data, tmp_path / "out", config, 0, silent).evidence
    write_json(tmp_path / "evidence.json", evidence)
    fqe = evidence["estimates"]["fqe"]
    assert (fqe["old"], fqe["new"], fqe["judgement"]) == (None, None, "cannot tell")
