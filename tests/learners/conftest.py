"""What the learners' tests share: a fixed seed for every weight that is drawn."""

import pytest


@pytest.fixture(autouse=True)
def seeded():
    import torch

    torch.manual_seed(0)
