"""A training that is ended by whatever goes on where it was, and gives the same weights."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from common.files import one_at_a_time
from learners import training
from learners.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from learners.training import DivergedError, part_path, train


class EndedError(Exception):
    """What ends a training in a test."""


class Slope:
    """One weight, a random step of which depends on the generator; ends itself at `ends_at`."""

    def __init__(self, ends_at=None):
        self.weights, self.calls, self.ends_at = torch.nn.Linear(1, 1), 0, ends_at
        self.heard = []
        torch.nn.init.zeros_(self.weights.weight)
        torch.nn.init.zeros_(self.weights.bias)
        self.optimizer = torch.optim.Adam(self.weights.parameters(), lr=0.1)
        self.generator = torch.Generator().manual_seed(0)

    def update(self):
        self.calls += 1
        if self.calls == self.ends_at:
            raise EndedError
        loss = (self.weights(torch.randn(4, 1, generator=self.generator)) - 1).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach()}

    def train(self, path, steps=250):
        learnt = {"weights": self.weights, "optimizer": self.optimizer}
        train("slope", path, steps, self.update, learnt, self.generator, lambda *call: self.heard.append(call[:3]))
        return self.heard


@pytest.fixture
def uninterrupted():
    slope = Slope()
    assert slope.train(None) == [("slope", 100, 250), ("slope", 200, 250), ("slope", 250, 250)]
    return slope


def test_an_ended_training_goes_on_and_gives_the_same_weights(uninterrupted, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAVE_PERIOD_S", 0.0)  # after every step
    path = tmp_path / "slope.pt"
    with pytest.raises(EndedError):
        Slope(ends_at=101).train(path)
    second = Slope()
    assert second.train(path) == [("slope", 200, 250), ("slope", 250, 250)]
    assert second.calls == 150
    assert torch.equal(second.weights.weight, uninterrupted.weights.weight)
    assert torch.equal(second.generator.get_state(), uninterrupted.generator.get_state())


def test_a_finished_training_is_taken_over(uninterrupted, tmp_path):
    Slope().train(tmp_path / "slope.pt")
    third = Slope()
    assert third.train(tmp_path / "slope.pt") == []
    assert third.calls == 0
    assert torch.equal(third.weights.weight, uninterrupted.weights.weight)


@pytest.mark.parametrize(
    "content",
    [{}, {"learnt": {}}, {"learnt": {"weights": {}, "optimizer": {}}}, {"learnt": 3}, {"learnt": {"weights": 3}}, "early", "late", "half"],
)
def test_a_file_that_does_not_fit_is_named(content, tmp_path):
    path = tmp_path / "slope.pt"
    if isinstance(content, str):  # a training that is finished, but for the step that it says
        Slope().train(path)
        content = load_checkpoint(path) | {"step": {"early": -5, "late": 10**9, "half": 0.5}[content]}
    save_checkpoint(path, content)
    with pytest.raises(CheckpointError, match=r"slope\.pt does not fit this run: .*delete it to begin anew"):
        Slope().train(path)


def test_a_file_that_is_no_checkpoint_is_to_be_deleted(tmp_path):
    (tmp_path / "slope.pt").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"slope\.pt is not a checkpoint: .*; delete it to begin anew"):
        Slope().train(tmp_path / "slope.pt")


def test_a_training_that_blew_up_says_so_and_keeps_nothing_of_it(tmp_path):
    slope = Slope()
    torch.nn.init.constant_(slope.weights.bias, float("nan"))
    with pytest.raises(DivergedError, match=r"slope: learning blew up by step 100 \(loss is nan\); begin anew with a lower") as caught:
        slope.train(tmp_path / "slope.pt")
    assert "setting learning_rate" in str(caught.value) and "unless data or start policy are at fault" in str(caught.value)
    assert not (tmp_path / "slope.pt").exists()


def test_two_that_want_the_same_part_train_it_once(uninterrupted, tmp_path):
    slopes = [Slope(), Slope()]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda slope: slope.train(tmp_path / "parts" / "slope.pt"), slopes))
    assert sorted(slope.calls for slope in slopes) == [0, 250]
    assert all(torch.equal(slope.weights.weight, uninterrupted.weights.weight) for slope in slopes)


def test_who_waits_for_another_says_so(tmp_path):
    path, slope = tmp_path / "slope.pt", Slope()
    with ThreadPoolExecutor(1) as pool:
        with one_at_a_time(path, pytest.fail):
            training_of_another = pool.submit(slope.train, path)
            deadline_s = time.monotonic() + 10
            while not slope.heard and time.monotonic() < deadline_s:
                time.sleep(0.01)
            assert slope.heard == [("slope, which another run learns", 0, 250)] and slope.calls == 0
        training_of_another.result()
    assert slope.calls == 250


def test_a_part_is_named_by_what_decides_it(tmp_path):
    path = part_path(tmp_path, "critics", {"seed": 0, "data": "a"})
    assert path == part_path(tmp_path, "critics", {"data": "a", "seed": 0})
    assert path.name.startswith("critics-")
    assert path != part_path(tmp_path, "critics", {"seed": 1, "data": "a"})
