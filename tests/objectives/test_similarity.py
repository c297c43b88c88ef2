"""The similarity of embeddings: its value and gradient, whichever way the reference is given, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from netlens import NetLens
from netlens.attribution import METHODS, GradCAM, IntegratedGradients, Occlusion, Saliency
from netlens.errors import NetLensError, NonFiniteError, NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import Objective, Record, logit, similarity
from tests.networks.endings import X, flat, network, scores, tokens

OTHER = torch.rand(2, 3, 12, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
TEXT = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(6))


def value(model: FlatModel, objective: Objective, x: Tensor = X) -> Tensor:
    return objective(Record(model, model.record(x, layers=objective.layers)))


def cosine(one: Tensor, other: Tensor) -> Tensor:
    """By hand, along the last dimension."""
    return (one * other).sum(-1) / one.square().sum(-1).sqrt() / other.square().sum(-1).sqrt()


def test_the_value_by_hand() -> None:
    model = flat(lambda net, y: F.normalize(scores(net, y), dim=-1))
    embeddings = model(X)
    for reference, expected in (
        (OTHER[:1], cosine(embeddings, model(OTHER[:1]))),
        (OTHER, cosine(embeddings, model(OTHER))),
        (OTHER[0], cosine(embeddings, model(OTHER[:1]))),
        (TEXT, cosine(embeddings, TEXT)),
        (3 * TEXT[None], cosine(embeddings, TEXT)),
        (TEXT.float(), cosine(embeddings, TEXT.float().double())),
        (model(OTHER), cosine(embeddings, model(OTHER))),
    ):
        assert_close(value(model, similarity(reference)), expected)
        assert_close(value(model, similarity(reference).settled(model, X)), expected)
        rows = [1, 1, 0]
        assert_close(value(model, similarity(reference).take(rows), X[rows]), expected[rows])
        assert_close(value(model, similarity(reference).settled(model, X).take(rows), X[rows]), expected[rows])
    assert_close(value(model, similarity(X)), torch.ones(2, dtype=torch.float64))


ENDS = {
    "unit length": lambda net, y: F.normalize(scores(net, y), dim=-1),
    "vectors": scores,
    "maps": lambda net, y: net.maps(y),
    "channels last": lambda net, y: net.linear(y.permute(0, 2, 3, 1)),
    "tokens": lambda net, y: net.linear(tokens(net, y)),
    "named": lambda net, y: {"last_hidden_state": net.norm(tokens(net, y)), "pooler_output": scores(net, y).tanh()},
    "squeezed": lambda net, y: scores(net, y).squeeze(),
}


def embedding(output: Any, name: str) -> Tensor:
    if name == "named":
        return output["pooler_output"]
    if name == "maps":
        return output.mean((2, 3))
    return output.flatten(1, -2).mean(1) if output.ndim > 2 else output.reshape(-1, 5)


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("reference", ["picture", "text"])
def test_the_gradient_is_that_of_autograd(name: str, reference: str) -> None:
    model, net = flat(ENDS[name]), network(ENDS[name])
    for x in (X, X[:1]):
        leaf = x.clone().requires_grad_()
        with torch.no_grad():
            other = TEXT[None] if reference == "text" else embedding(net(OTHER[:1]), name)
        (expected,) = torch.autograd.grad(cosine(embedding(net(leaf), name), other).sum(), leaf)
        objective = similarity(TEXT if reference == "text" else OTHER[:1])
        assert_close(Saliency()(model, x, objective).values, expected.abs())


def test_methods_explain_it_like_any_objective() -> None:
    model = flat(lambda net, y: F.normalize(scores(net, y), dim=-1))
    objective = similarity(OTHER) - 0.5 * similarity(TEXT)
    values = Occlusion(window=3, stride=3)(model, X, objective).values
    covered = X.clone()
    covered[:, :, :3, :3] = 0
    assert_close(values[:, 0, 0, 0], value(model, objective) - value(model, objective, covered))
    alone = torch.cat([Occlusion(window=3, stride=3)(model, X[i : i + 1], objective.take([i])).values for i in (0, 1)])
    assert_close(values, alone)
    path = IntegratedGradients(n_steps=200)(model, X, objective).values.flatten(1).sum(1)
    assert_close(path, value(model, objective) - value(model, objective, X * 0), rtol=1e-3, atol=1e-4)
    assert GradCAM(layer="conv")(model, X, objective).values.shape == (2, 1, 10, 8)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_it_or_says_why_not(name: str) -> None:
    model = flat(lambda net, y: F.normalize(scores(net, y), dim=-1))
    lens = NetLens(model, X, objective=similarity(OTHER[:1]))
    try:
        attribution = getattr(lens, name)()
    except NotApplicable as reason:
        assert len(str(reason)) > 20
        return
    assert attribution.values.isfinite().all() and len(attribution.values) == 2


def test_a_layer_or_a_head_may_be_the_embedding() -> None:
    model = flat(lambda net, y: {"a": scores(net, y), "b": net.other(y.mean((2, 3)))})
    with pytest.raises(NotApplicable, match=r"several outputs: 'a', 'b'.*similarity\(reference, head='a'\)"):
        value(model, similarity(OTHER))
    out, other = model(X), model(OTHER)
    assert_close(value(model, similarity(OTHER, head="b")), cosine(out["b"], other["b"]))
    at = [model(x, until="conv").mean((2, 3)) for x in (X, OTHER)]
    assert_close(value(model, similarity(OTHER, layer="conv")), cosine(*at))
    with pytest.raises(NetLensError, match="not both"):
        similarity(OTHER, layer="conv", head="b")


def test_it_reads_as_it_was_written() -> None:
    assert repr(similarity(OTHER)) == "similarity()"
    assert repr(similarity(TEXT, head="embeds") - logit(1)) == "similarity(embedding, head='embeds') - logit(1)"
    assert repr(2 * similarity(OTHER, layer="conv") - logit(1)) == "2 * similarity(layer='conv') - logit(1)"


def test_a_siamese_network_has_its_reference_inside() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = network(scores)
            self.register_buffer("reference", OTHER[:1])

        def forward(self, x: Tensor) -> Tensor:
            return F.cosine_similarity(self.encoder(x), self.encoder(self.reference))

    inside, outside = FlatModel.from_nn_Module(Pair().double()), flat(scores)
    assert_close(value(inside, logit(0)), value(outside, similarity(OTHER[:1])))
    assert_close(Saliency()(inside, X, logit(0)).values, Saliency()(outside, X, similarity(OTHER[:1])).values)


def test_mistakes() -> None:
    model = flat(scores)
    with pytest.raises(NetLensError, match="the reference has 4 numbers, but the embedding of ends has 5"):
        value(model, similarity(TEXT[:4]))
    with pytest.raises(NetLensError, match="is 0, so it has no direction"):
        similarity(TEXT * 0)
    with pytest.raises(NonFiniteError, match="holds NaN or Inf"):
        similarity(TEXT / 0)
    with pytest.raises(NetLensError, match="for 2 samples"):
        value(model, similarity(torch.stack([TEXT] * 3)))


VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
TOWER = {"image_size": 32, "patch_size": 8, **VISION}
WORDS = {"vocab_size": 20, "max_position_embeddings": 8, **VISION}


@pytest.mark.parametrize("name", ["CLIP", "SigLIP"])
def test_a_text_and_an_image_are_as_alike_as_the_whole_network_says(name: str) -> None:
    transformers = pytest.importorskip(
        "transformers", reason="transformers is not installed, which has CLIP and SigLIP"
    )
    torch.manual_seed(0)
    if name == "CLIP":
        texts = {"eos_token_id": 19, "bos_token_id": 18, "pad_token_id": 0, **WORDS}
        both = transformers.CLIPModel(transformers.CLIPConfig(text_config=texts, vision_config=TOWER, projection_dim=8))
        tower = transformers.CLIPVisionModelWithProjection(both.config.vision_config)
        tower.vision_model, tower.visual_projection = both.vision_model, both.visual_projection
    else:
        both = transformers.SiglipModel(transformers.SiglipConfig(text_config=WORDS, vision_config=TOWER))
        tower = both.vision_model
    both, tower = both.double().eval(), tower.double().eval()
    words, x = torch.tensor([[3, 5, 19]]), torch.rand(2, 3, 32, 32, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    output = both(input_ids=words, pixel_values=leaf)
    bias = both.logit_bias if name == "SigLIP" else 0.0
    alike = (output.logits_per_image[:, 0] - bias) / both.logit_scale.exp()
    objective = similarity(output.text_embeds[0])
    lens = NetLens(tower, x, objective=objective)
    assert_close(value(lens.flat, objective, x), alike.detach())
    (gradient,) = torch.autograd.grad(alike.sum(), leaf)
    assert_close(lens.saliency().values, gradient.abs())
    with pytest.raises(NotApplicable, match="gives an embedding"):
        lens.predictions()


def test_dino_compares_images() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers, which has DINOv2, is not installed")
    torch.manual_seed(0)
    dino = transformers.Dinov2Model(transformers.Dinov2Config(**TOWER)).double().eval()
    x, other = torch.rand(2, 1, 3, 32, 32, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    alike = cosine(dino(leaf).pooler_output, dino(other).pooler_output)
    lens = NetLens(dino, x, objective=similarity(other))
    assert_close(value(lens.flat, similarity(other), x), alike.detach())
    assert_close(lens.saliency().values, torch.autograd.grad(alike.sum(), leaf)[0].abs())
