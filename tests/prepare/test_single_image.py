"""A model that drops the batch of one image is refused by the operation that does it."""

import pytest
import torch
from small_networks import Net
from torch import nn

from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.prepare.single_image import single_image_logit
from brevitas_defakeq.utils.errors import UserError

IMAGE = torch.arange(48.0).reshape(1, 3, 4, 4) / 48


def net(flow, classes=2):
    torch.manual_seed(0)
    return Net(flow, pool=nn.AdaptiveAvgPool2d(1), head=nn.Linear(3, classes)).eval()


@pytest.mark.parametrize(
    ("flow", "classes"),
    [
        (lambda self, x: self.head(self.pool(x).squeeze()), 2),
        (lambda self, x: torch.squeeze(self.head(self.pool(x).flatten(1))), 1),
        (lambda self, x: {"cls": self.head(self.pool(x).squeeze())[:, 0]}, 2),
    ],
)
def test_squeeze_is_named_with_what_to_write(flow, classes):
    with pytest.raises(UserError, match=r"^squeeze\(\) in the forward pass .* write flatten\(1\)"):
        single_image_logit(net(flow, classes), IMAGE, OutputSpec().fake_logit)


def test_the_module_is_named():
    class Pool(nn.Module):
        def forward(self, x):
            return x.mean((2, 3), keepdim=True).squeeze()

    model = nn.Sequential(nn.Sequential(Pool()), nn.Linear(3, 2))
    with pytest.raises(UserError, match=r"^squeeze\(\) in 0\.0 drops"):
        single_image_logit(model, IMAGE, OutputSpec().fake_logit)


@pytest.mark.parametrize(
    "flow",
    [
        lambda self, x: self.head(self.pool(x).squeeze(-1).squeeze(-1)),
        lambda self, x: self.head(self.pool(x).squeeze().view(len(x), -1)),
    ],
)
def test_a_batch_that_is_kept_or_put_back_is_fine(flow):
    model = net(flow)
    found = single_image_logit(model, IMAGE, OutputSpec().fake_logit)
    scores = model.head(IMAGE.mean((2, 3)))[0]
    torch.testing.assert_close(found, (scores[1] - scores[0])[None])


def test_several_verdicts_for_one_image_are_refused():
    with pytest.raises(UserError, match="returns 16 verdicts for one image"):
        single_image_logit(net(lambda self, x: x[:, 0].reshape(-1)), IMAGE, OutputSpec().fake_logit)


def test_an_observer_counts_verdicts_too():
    model = net(lambda self, x: self.head(self.pool(x).flatten(1)).squeeze())
    observer = Observer(OutputSpec(), "head", "input")
    assert observer(model, IMAGE.repeat(3, 1, 1, 1))[0].shape == (3,)
    with pytest.raises(UserError, match=r"returns 2 verdicts for 1 images; does a squeeze\(\)"):
        observer(model, IMAGE)
