"""Trains the bundled network from nothing but a seed: `python -m netlens.world.training [--output FILE]`.

The data are drawn once and disturbed anew in each epoch. At first, the world emerges from gray around the objects; once
it is all there, the network is hardened. On the same machine, the same versions give the same weights, bit for bit;
elsewhere rounding differs, and with it the file and its SHA-256, but not what the network can do.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from safetensors.torch import save as serialized
from torch import Generator, Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from netlens import files
from netlens.world.augmentation import augment
from netlens.world.network import SIZE, WEIGHTS, architecture, normalize
from netlens.world.scene import batch

SEED: Final = 1
HELD_OUT: Final = 2
"""Seeds of the scenes to learn from and of those to be judged by."""

SCENES: Final = 12_000
EPOCHS: Final = 10
GENTLE: Final = 0.4
"""Share of the epochs in which the world emerges and nothing works against the network yet; it would learn nothing."""

POLISH: Final = 2
"""Epochs after those."""

BATCH: Final = 64
RATE: Final = 4e-3
STRENGTH: Final = 12.0
"""How far images are moved against the network, as a Euclidean distance after normalization."""
THREADS: Final = 1  # rounding, and so the weights, depend on it

log = logging.getLogger(__name__)


def train(scenes: int = SCENES, epochs: int = EPOCHS) -> nn.Module:
    """A network trained on `scenes` scenes, in eval mode; the caller's random state is left as it was."""
    images, labels, masks = batch(SEED, scenes, SIZE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)  # torchvision initializes from the global generator
        model: nn.Module = architecture()
    learn(model, images, labels, masks, epochs)
    polish(model, images, labels)
    return model.eval()


def learn(model: nn.Module, images: Tensor, labels: Tensor, masks: Tensor, epochs: int) -> None:
    """Train on disturbed images, then also on what the network gets wrong most easily near them, in place.

    At first, the objects are nearly alone: in the whole world, it would take far longer to see what is meant. Once they
    are not, every batch is seen twice: as it is, then moved in the direction that the first time found to be the worst,
    ever further. After that, gradients and visualizations show shapes and textures rather than noise.

    Shafahi et al. 2019, https://arxiv.org/abs/1904.12843; Engstrom et al. 2019, https://arxiv.org/abs/1906.00945
    """
    n_batches, gentle = len(images) // BATCH, max(1, round(GENTLE * epochs))
    lesson = _Lesson(model, RATE, n_batches * (2 * epochs - gentle))
    generator = Generator().manual_seed(SEED)
    for epoch in range(epochs):
        total = torch.zeros(())
        for done, chosen in enumerate(batches(len(images), generator)):
            shown = _emerging(images[chosen], masks[chosen], min(1, (epoch + done / n_batches) / gentle))
            x = disturbed(shown, generator)
            if epoch < gentle:
                total += lesson(x, labels[chosen])
            else:
                hardened = (epoch - gentle + done / n_batches) / (epochs - gentle)
                total += _twice(lesson, x, labels[chosen], STRENGTH * min(1, 2 * hardened))
        log.info("epoch %d of %d: mean loss %.3f", epoch + 1, epochs, total / n_batches)
    lesson.progress.close()


def polish(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Train a little more, in place, on all at its hardest, at rates that start afresh, lower."""
    lesson = _Lesson(model, RATE / 4, 2 * POLISH * (len(images) // BATCH))
    generator = Generator().manual_seed(SEED)
    for _ in range(POLISH):
        for chosen in batches(len(images), generator):
            _twice(lesson, disturbed(images[chosen], generator), labels[chosen], STRENGTH)
    lesson.progress.close()


def _twice(lesson: _Lesson, x: Tensor, labels: Tensor, distance: float) -> Tensor:
    """Learn a batch as it is, then moved so far in the direction that was the worst; the loss before both."""
    loss = lesson(x.requires_grad_(), labels)
    assert x.grad is not None
    lesson(x.detach() + distance * _direction(x.grad), labels)
    return loss


def _emerging(images: Tensor, masks: Tensor, presence: float) -> Tensor:
    """Bytes (N, 3, H, W) in which all but the object is only as present as asked, from 0, plain gray, to 1."""
    return torch.where(masks[:, None], images, 128 + presence * (images - 128.0)).to(torch.uint8)


def _direction(gradient: Tensor) -> Tensor:
    """The gradient of each image (N, C, H, W), at length 1."""
    return gradient / torch.linalg.vector_norm(gradient, dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)


class _Lesson:
    """Steps of the weights, along a schedule of `steps` of them that rises to `rate` and falls to nothing."""

    def __init__(self, model: nn.Module, rate: float, steps: int) -> None:
        self.model = model.train().to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
        self.schedule = OneCycleLR(self.optimizer, max_lr=rate, total_steps=steps, pct_start=0.2)
        self.progress = tqdm(total=steps, desc="training", mininterval=10)

    def __call__(self, x: Tensor, labels: Tensor) -> Tensor:
        """Learn one batch and return the loss before; `x.grad` is filled if x requires it."""
        # smoothed labels: confidence beyond 0.9 buys nothing
        with torch.autocast("cpu", torch.bfloat16):  # several times as fast where the processor knows it
            logits = self.model(x)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=0.1)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.progress.update()
        return loss.detach()


def batches(n: int, generator: Generator) -> Iterable[Tensor]:
    """The numbers below n in random order, BATCH at a time, without the few that are left over."""
    return torch.randperm(n, generator=generator)[: n // BATCH * BATCH].view(-1, BATCH)


def disturbed(images: Tensor, generator: Generator) -> Tensor:
    """Bytes (N, 3, H, W), augmented and normalized."""
    return normalize(augment(images, generator)).contiguous(memory_format=torch.channels_last)


def accuracy(model: nn.Module, n: int = 2000, seed: int = HELD_OUT) -> float:
    """Share of `n` scenes of this seed whose label is the largest logit."""
    images, labels, _ = batch(seed, n, SIZE)
    with torch.inference_mode():
        right = [model(normalize(i)).argmax(1) == j for i, j in zip(images.split(100), labels.split(100), strict=True)]
    return torch.cat(right).float().mean().item()


def save(model: nn.Module, path: Path) -> str:
    """Write the weights as float32 safetensors, all or nothing, and return the file's SHA-256."""
    content = serialized({name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()})
    files.write(path, content)
    return hashlib.sha256(content).hexdigest()


def command(what: str, train: Callable[[int, int], nn.Module], output: Path, scenes: int, epochs: int) -> None:
    """The command line of a training: train, judge on held-out scenes, write."""
    parser = argparse.ArgumentParser(description=f"Train the {what}.")
    parser.add_argument("--output", type=Path, default=output, help="file to write (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=scenes, help="scenes to learn from (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=epochs, help="passes over them (default: %(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(THREADS)
    start = time.monotonic()
    model = train(arguments.scenes, arguments.epochs)
    digest = save(model, arguments.output)
    log.info("%d parameters, %.0f s", sum(p.numel() for p in model.parameters()), time.monotonic() - start)
    log.info("held-out accuracy %.4f; SHA-256 %s", accuracy(model), digest)


if __name__ == "__main__":
    command("bundled network", train, WEIGHTS, SCENES, EPOCHS)
