"""What the tests of several exports use."""

import pytest
import torch


def randomize_(model: torch.nn.Module) -> torch.nn.Module:
    """BatchNorm statistics and a spread of the layers as after some training, so that activations live."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
    return model.eval()


@pytest.fixture(scope="session")
def randomized():
    """Networks with made-up weights that pass something on: ``randomized(model)``, in place."""
    return randomize_
