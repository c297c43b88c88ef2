"""How the bundled transformer learns: from labels and from what the bundled RegNet sees, a few tokens at a time.

From labels alone, a transformer this small finds nothing in several thousand scenes. So two linear maps, thrown away
afterwards, must tell the teacher's last two feature maps from the student's tokens: the one of 16 x 16, which knows
textures, from what leaves the stem, the one of 8 x 8, which knows objects, from what leaves the last block. The teacher
fades, and what the student then does it does for the labels.

Hinton et al. 2015, https://arxiv.org/abs/1503.02531; Romero et al. 2015, https://arxiv.org/abs/1412.6550
"""

from __future__ import annotations

import logging
from typing import Final

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torchvision.models.regnet import RegNet
from torchvision.models.vision_transformer import VisionTransformer
from tqdm import tqdm

from netlens.world.augmentation import augment
from netlens.world.network import normalise

BATCH: Final = 32
RATE: Final = 1.5e-3
PLAIN: Final = 0.25
"""Share of the epochs in which images are as they were drawn; disturbed ones would delay the start."""

KEPT: Final = 64
"""Tokens that each block sees, drawn anew for each image, until in the last epoch it sees all: a third of the work."""

GUIDANCE: Final = 2.0
"""Weight of the teacher against the labels at the start; it falls to nothing, linearly."""

log = logging.getLogger(__name__)


def distil(model: VisionTransformer, teacher: RegNet, images: Tensor, labels: Tensor, epochs: int, seed: int) -> None:
    """Train the student in place on bytes (N, 3, H, W); draws only from a generator of this seed.

    Tokens are dropped as in Liu et al. 2022, https://arxiv.org/abs/2208.07220.
    """
    generator = Generator().manual_seed(seed)
    model.train().to(memory_format=torch.channels_last)
    teacher.eval().to(memory_format=torch.channels_last)
    early, late = _features(teacher, normalise(images[:1]))
    guide = _Guide(model.hidden_dim, early.shape[1], late.shape[1], generator)
    parameters = [*model.parameters(), *guide.parameters()]
    batches = len(images) // BATCH
    steps = batches * epochs
    optimiser = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.05)
    schedule = OneCycleLR(optimiser, max_lr=RATE, total_steps=steps, pct_start=0.1)
    progress = tqdm(total=steps, desc="training", mininterval=10)
    for epoch in range(epochs):
        right = torch.zeros(())
        kept = KEPT if epoch < epochs - 1 else model.seq_length - 1
        order = torch.randperm(len(images), generator=generator)[: batches * BATCH]
        for done, chosen in enumerate(order.view(-1, BATCH)):
            colours = images[chosen] / 255 if epoch < PLAIN * epochs else augment(images[chosen], generator)
            x = normalise(colours).contiguous(memory_format=torch.channels_last)
            early, late = _features(teacher, x)
            with torch.autocast("cpu", torch.bfloat16):
                stem, seen, places = tokens(model, x, kept, generator)
                logits = model.heads(seen[:, 0])
                missed = guide(stem, seen[:, 1:], places, early, late)
            # smoothed labels: confidence beyond 0.9 buys nothing
            loss = F.cross_entropy(logits.float(), labels[chosen], label_smoothing=0.1)
            optimiser.zero_grad()
            (loss + GUIDANCE * (1 - (epoch + done / batches) / epochs) * missed).backward()
            optimiser.step()
            schedule.step()
            progress.update()
            right += (logits.argmax(1) == labels[chosen]).sum()
        log.info("epoch %d of %d: %.3f right", epoch + 1, epochs, right / (batches * BATCH))
    progress.close()


def tokens(model: VisionTransformer, x: Tensor, kept: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """All patches (N, P, C) as they leave the stem; class token and `kept` patches as they leave the last block; which.

    With all kept, `model.heads` of the class token is `model(x)`.
    """
    stem = model.conv_proj(x).flatten(2).transpose(1, 2)
    n, patches, _ = stem.shape
    places = torch.rand(n, patches, generator=generator).argsort(1)[:, :kept]
    placed = stem + model.encoder.pos_embedding[:, 1:]
    first = (model.class_token + model.encoder.pos_embedding[:, :1]).expand(n, -1, -1)
    shown = torch.cat([first, _at(places, placed)], 1)
    return stem, model.encoder.ln(model.encoder.layers(shown)), places


class _Guide(nn.Module):
    """How badly the teacher's features can be told from the student's tokens by linear maps, which learn it too."""

    def __init__(self, hidden: int, early: int, late: int, generator: Generator) -> None:
        super().__init__()
        self.early, self.late = (
            nn.Parameter(torch.empty(width, hidden).normal_(std=hidden**-0.5, generator=generator))
            for width in (early, late)
        )

    def forward(self, stem: Tensor, seen: Tensor, places: Tensor, early: Tensor, late: Tensor) -> Tensor:
        """The mean squared error of both, in standard deviations of the teacher's channels."""
        fine, coarse = (maps.flatten(2).transpose(1, 2) for maps in (early, _doubled(late)))
        missed_early = F.mse_loss(F.linear(stem, self.early).float(), fine)
        return missed_early + F.mse_loss(F.linear(seen, self.late).float(), _at(places, coarse))


def _at(places: Tensor, sequence: Tensor) -> Tensor:
    """The vectors (N, K, C) of a sequence (N, P, C) at places (N, K)."""
    return sequence.gather(1, places[..., None].expand(-1, -1, sequence.shape[2]))


def _doubled(maps: Tensor) -> Tensor:
    """Maps (N, C, h, w) at twice the resolution, each value four times."""
    return maps.repeat_interleave(2, 2).repeat_interleave(2, 3)


def _features(teacher: RegNet, x: Tensor) -> tuple[Tensor, Tensor]:
    """The teacher's last two feature maps (N, C, h, w), of mean 0 and deviation 1 in each channel of the batch."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        early = teacher.trunk_output[:-1](teacher.stem(x))
        late = teacher.trunk_output[-1](early)
    return _standard(early.float()), _standard(late.float())


def _standard(features: Tensor) -> Tensor:
    deviation, mean = torch.std_mean(features, (0, 2, 3), keepdim=True)
    return (features - mean) / (deviation + 1e-3)  # some channels are silent
