"""Scores and log-probabilities of classes, whichever way a class is given and whatever the network's output is."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from netlens.attribution import Occlusion, Saliency
from netlens.errors import ClassNotFound
from netlens.flat import FlatModel
from netlens.flat.adapter import Detections
from netlens.objectives import Record, log_probability, logit, total_variation

VECTORS = torch.tensor([[1.0, 3.0, -2.0], [0.5, 0.0, 40.0]], dtype=torch.float64)
MAPS = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def of_output(objective, scores):
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Identity()).double())
    return objective(Record(flat, flat.record(scores, layers="output")))


def test_by_hand():
    total = torch.tensor([1.0, 3.0, -2.0], dtype=torch.float64).exp().sum().log()
    assert_close(of_output(log_probability(0), VECTORS)[0], 1 - total)
    assert_close(of_output(logit(0), VECTORS), VECTORS[:, 0])
    # far from 1, where log(softmax) would be -inf in float32
    assert_close(of_output(log_probability(0), torch.tensor([[0.0, 500.0]])), torch.tensor([-500.0]))


@pytest.mark.parametrize("target", [2, [2, 0], torch.tensor([2, 0])])
@pytest.mark.parametrize("scores", [VECTORS, MAPS], ids=["vectors", "maps"])
def test_the_loss_that_classifiers_are_trained_with(target, scores):
    classes = torch.as_tensor(target).expand(2)
    classes = classes if scores.ndim == 2 else classes[:, None, None].expand(2, 4, 5)
    loss = F.cross_entropy(scores, classes, reduction="none").reshape(2, -1).mean(1)
    assert_close(of_output(log_probability(target), scores), -loss)


def test_at_an_index_and_of_one_score():
    assert_close(of_output(log_probability((1, 2, 3)), MAPS), MAPS.log_softmax(1)[:, 1, 2, 3])
    assert_close(of_output(log_probability(0), VECTORS[:, :1]), VECTORS[:, 0].sigmoid().log())


def test_names_samples_and_errors():
    assert repr(logit(1) + log_probability([1, 2])) == "logit(1) + log_probability([1, 2])"
    assert log_probability([4, 5, 6]).take([2, 0]) == log_probability([6, 4])
    assert log_probability(1) != logit(1)
    with pytest.raises(ClassNotFound, match="0 to 2"):
        of_output(log_probability(3), VECTORS)
    with pytest.raises(ClassNotFound, match="no output"):
        of_output(log_probability((0, 9, 0)), MAPS)
    with pytest.raises(ClassNotFound, match="not True"):
        of_output(logit(True), VECTORS)


def test_it_is_explained_like_any_objective(conv):
    x = torch.rand(1, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    image = x.clone().requires_grad_()
    conv(image).log_softmax(1)[0, 2].backward()
    assert_close(Saliency()(conv, x, log_probability(2)).values, image.grad.abs())
    several = Occlusion(4, 4)(conv, x.expand(3, -1, -1, -1), log_probability([0, 1, 2])).values
    assert_close(several, torch.cat([Occlusion(4, 4)(conv, x, log_probability(k)).values for k in range(3)]))


def test_the_class_that_a_sum_is_about(conv):
    both = logit([1, 2]) + 0.5 * log_probability([1, 2]) - 0.1 * total_variation()
    assert both.targets(conv, 2) == (1, 2)
    for other in (logit(1) - logit(2), -logit(1), total_variation() * 2, logit(1) - log_probability(1)):
        assert other.targets(conv, 2) is None


def test_boxes_are_as_probable_as_the_detector_says():
    scores = torch.tensor([[[0.2, 0.9], [0.7, 0.0]]])
    output = Detections(boxes=torch.zeros(1, 2, 4), logits=scores.logit(), scores=scores)
    flat = FlatModel.from_nn_Module(nn.Identity())
    logs = [log_probability(k)(Record(flat, {"output": output})) for k in (0, 1)]
    assert_close(torch.cat(logs), torch.tensor([0.7, 0.9]).log())
