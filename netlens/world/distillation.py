"""Trains the bundled transformer on the bundled network: `python -m netlens.world.distillation [--output FILE]`.

Half of the loss compares with the labels, and half with the probabilities of the bundled network. The convolutions of
the bundled network are copied and not trained. So training takes minutes: a transformer without them would first have
to learn edges.

Hinton et al. 2015, https://arxiv.org/abs/1503.02531
"""

from __future__ import annotations

import logging
from typing import Final

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torchvision.models import VisionTransformer
from tqdm import tqdm

from netlens.world import network
from netlens.world.scene import CLASSES, batch
from netlens.world.training import BATCH, SEED, batches, command, disturbed
from netlens.world.transformer import WEIGHTS, architecture, stem

SCENES: Final = 12_000
EPOCHS: Final = 12
RATE: Final = 1e-3

_FROZEN: Final = tuple(f"conv_proj.{index}." for index in range(4))

log = logging.getLogger(__name__)


def train(scenes: int = SCENES, epochs: int = EPOCHS, seed: int = SEED) -> nn.Module:
    """A transformer in eval mode, trained on `scenes` scenes. The random state of the caller stays as it was."""
    images, labels, _ = batch(seed, scenes, network.SIZE)
    teacher = network.network()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # torchvision initializes from the global generator
        model = architecture()
    for layer, learned in zip(model.conv_proj, stem(teacher), strict=False):
        layer.load_state_dict(learned.state_dict())
    learn(model, teacher, images, labels, epochs, seed)
    trained: nn.Module = model.eval()
    return trained


def learn(model: VisionTransformer, teacher: nn.Module, images: Tensor, labels: Tensor, epochs: int, seed: int) -> None:
    """Train the layers after the stem on disturbed images, in place."""
    model.train()
    frozen = stem(teacher)  # in eval mode, so that batch norm does not change
    learned = [parameter for name, parameter in model.named_parameters() if not name.startswith(_FROZEN)]
    optimizer = torch.optim.AdamW(learned, lr=RATE, weight_decay=0.05)
    steps = epochs * (len(images) // BATCH)
    schedule = OneCycleLR(optimizer, max_lr=RATE, total_steps=steps, pct_start=0.2)
    generator = Generator().manual_seed(seed)
    progress = tqdm(total=steps, desc="training", mininterval=10)
    for epoch in range(epochs):
        total = torch.zeros(())
        for chosen in batches(len(images), generator):
            x = disturbed(images[chosen], generator)
            with torch.autocast("cpu", torch.bfloat16):
                with torch.no_grad():
                    features = nn.Sequential(*frozen)(x)
                    soft = teacher(x).float().softmax(1)
                tokens = model.conv_proj[-1](features).flatten(2).mT
                tokens = torch.cat([model.class_token.expand(len(tokens), -1, -1), tokens], 1)
                logits = model.heads(model.encoder(tokens)[:, 0])
            hard = F.one_hot(labels[chosen], len(CLASSES))
            loss = F.cross_entropy(logits.float(), (soft + hard) / 2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.update()
            total += loss.detach()
        log.info("epoch %d of %d: mean loss %.3f", epoch + 1, epochs, total / (len(images) // BATCH))
    progress.close()


def main() -> None:
    command("bundled transformer", train, WEIGHTS, SCENES, EPOCHS)


if __name__ == "__main__":
    main()
