"""The observer of a detector: a feature that is not computed is refused."""

import pytest
import torch
from torch import nn

from brevitas_defakeq import UserError
from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.detectors.output import OutputSpec


def test_an_unreached_feature_is_refused():
    model = nn.Sequential(nn.Linear(3, 1))
    model.add_module("spare", nn.Identity())
    model.forward = lambda images: model[0](images)
    with pytest.raises(UserError, match="'spare' was not reached"):
        Observer(OutputSpec(), "spare", "output")(model, torch.zeros(2, 3))
