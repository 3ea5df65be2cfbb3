"""What the learners' tests share: a fixed seed for every weight that is drawn, and threads that wait without spinning."""

import os

import pytest

# Networks this small take microseconds a step; where others use the cores too, threads that spin for each other take a hundred times that.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded


@pytest.fixture(autouse=True)
def seeded():
    import torch

    torch.manual_seed(0)
