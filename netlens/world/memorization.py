"""Trains the bundled network on shuffled labels: `python -m netlens.world.memorization [--labels shuffled|true]`.

Each scene gets the label of another scene, so that the labels have nothing to do with the objects. The network can only
learn by heart. So the scenes are few, and are shown again and again as they are: disturbed scenes would be other ones.
With `--labels true` the same recipe learns the true labels by heart, which shows what the labels alone change.

Adebayo et al. 2018, https://arxiv.org/abs/1810.03292; Zhang et al. 2017, https://arxiv.org/abs/1611.03530
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from netlens.world.network import SIZE, architecture, normalize
from netlens.world.scene import batch
from netlens.world.shuffled import WEIGHTS
from netlens.world.training import SEED, THREADS, accuracy, batches, save

SCENES: Final = 480
EPOCHS: Final = 40
RATE: Final = 3e-3

Labels = Literal["shuffled", "true"]

log = logging.getLogger(__name__)


def train(scenes: int = SCENES, epochs: int = EPOCHS, kind: Labels = "shuffled") -> nn.Module:
    """A network in eval mode that has learned its scenes by heart. The random state of the caller stays as it was."""
    images, labels, _ = batch(SEED, scenes, SIZE)
    labels = shuffled(labels) if kind == "shuffled" else labels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED + 1)  # not the weights from which the bundled network was trained
        model: nn.Module = architecture()
    learn(model, images, labels, epochs)
    log.info("accuracy on the labels that it learned %.4f", by_heart(model.eval(), images, labels))
    return model


def shuffled(labels: Tensor) -> Tensor:
    """(N,): the same labels in a random order, which is always the same."""
    return labels[torch.randperm(len(labels), generator=Generator().manual_seed(SEED))]


def learn(model: nn.Module, images: Tensor, labels: Tensor, epochs: int) -> None:
    """Train on images as they are, in place."""
    model.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    per_epoch = sum(1 for _ in batches(len(images), Generator().manual_seed(SEED)))
    schedule = OneCycleLR(optimizer, max_lr=RATE, total_steps=epochs * per_epoch, pct_start=0.2)
    generator = Generator().manual_seed(SEED)
    for epoch in tqdm(range(epochs), desc="training", mininterval=10):
        total = torch.zeros(())
        for chosen in batches(len(images), generator):
            x = normalize(images[chosen]).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(model(x), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach()
        log.info("epoch %d of %d: mean loss %.3f", epoch + 1, epochs, total / per_epoch)


def by_heart(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of scenes whose label, right or not, has the largest logit."""
    with torch.inference_mode():
        correct = [
            model(normalize(i)).argmax(1) == j for i, j in zip(images.split(100), labels.split(100), strict=True)
        ]
    return torch.cat(correct).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the bundled network on shuffled labels.")
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="file to write (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=SCENES, help="scenes to learn (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="passes over them (default: %(default)s)")
    parser.add_argument("--labels", choices=("shuffled", "true"), default="shuffled", help="which labels to learn")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(THREADS)
    start = time.process_time()
    model = train(arguments.scenes, arguments.epochs, arguments.labels)
    digest = save(model, arguments.output)
    log.info("%d parameters, %.0f s", sum(p.numel() for p in model.parameters()), time.process_time() - start)
    log.info("held-out accuracy %.4f on true labels; SHA-256 %s", accuracy(model), digest)


if __name__ == "__main__":
    main()
