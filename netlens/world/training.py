"""Trains the bundled network from nothing but a seed: `python -m netlens.world.training [--output FILE]`.

The data are drawn once and disturbed anew in each epoch. Same machine, same threads: the same weights, bit for bit;
elsewhere rounding differs, so the file and its SHA-256 do, but not what the network can do.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import time
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from safetensors.torch import save as serialised
from torch import Generator, Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from netlens.world.augmentation import augment
from netlens.world.network import SIZE, WEIGHTS, architecture, normalise
from netlens.world.scene import batch

SEED: Final = 1
HELD_OUT: Final = 2
"""Seeds of the scenes to learn from and of those to be judged by."""

SCENES: Final = 20_000
EPOCHS: Final = 10
BATCH: Final = 64
RATE: Final = 4e-3
THREADS: Final = 2  # rounding, and so the weights, depend on it

log = logging.getLogger(__name__)


def train(scenes: int = SCENES, epochs: int = EPOCHS) -> nn.Module:
    """A network trained on `scenes` scenes, in eval mode; the caller's random state is left as it was."""
    images, labels, _ = batch(SEED, scenes, SIZE)
    generator = Generator().manual_seed(SEED)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)  # torchvision initialises from the global generator
        model: nn.Module = architecture().to(memory_format=torch.channels_last)
    batches = scenes // BATCH
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    schedule = OneCycleLR(optimiser, max_lr=RATE, total_steps=epochs * batches, pct_start=0.2)
    progress = tqdm(total=epochs * batches, desc="training", mininterval=10)
    model.train()
    for epoch in range(epochs):
        total = torch.zeros(())
        for chosen in torch.randperm(scenes, generator=generator)[: batches * BATCH].view(-1, BATCH):
            loss = _loss(model, images[chosen], labels[chosen], generator)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.detach()
            progress.update()
        log.info("epoch %d of %d: mean loss %.3f", epoch + 1, epochs, total / batches)
    progress.close()
    return model.eval()


def _loss(model: nn.Module, images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    """Cross-entropy on a disturbed batch of bytes, with smoothed labels: confidence beyond 0.9 buys nothing."""
    x = normalise(augment(images, generator)).contiguous(memory_format=torch.channels_last)
    return F.cross_entropy(model(x), labels, label_smoothing=0.1)


def accuracy(model: nn.Module, n: int = 2000, seed: int = HELD_OUT) -> float:
    """Share of `n` scenes of this seed whose label is the largest logit."""
    images, labels, _ = batch(seed, n, SIZE)
    with torch.inference_mode():
        right = [model(normalise(i)).argmax(1) == j for i, j in zip(images.split(100), labels.split(100), strict=True)]
    return torch.cat(right).float().mean().item()


def save(model: nn.Module, path: Path) -> str:
    """Write the weights as float32 safetensors, all or nothing, and return the file's SHA-256."""
    content = serialised({name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()})
    temporary = path.with_suffix(".partial")
    temporary.write_bytes(content)
    temporary.replace(path)
    return hashlib.sha256(content).hexdigest()


def main() -> None:
    """The command: train, judge on held-out scenes, write."""
    parser = argparse.ArgumentParser(description="Train the bundled network.")
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="file to write (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=SCENES, help="scenes to learn from (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="passes over them (default: %(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(THREADS)
    start = time.monotonic()
    model = train(arguments.scenes, arguments.epochs)
    digest = save(model, arguments.output)
    log.info("%d parameters, %.0f s", sum(p.numel() for p in model.parameters()), time.monotonic() - start)
    log.info("held-out accuracy %.4f; SHA-256 %s", accuracy(model), digest)


if __name__ == "__main__":
    main()
