"""What the learners' tests share: a fixed seed for every weight that is drawn."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
