"""Trains the bundled network; the only input is a seed: `python -m netlens.world.training [--output FILE] [--seed N]`.

The scenes are drawn once, and disturbed in another way in each epoch. In the first epochs, the surroundings of the
objects are gray at first, and then appear gradually. After that, the training is adversarial. The same versions on the
same machine give the same weights, bit for bit. On another machine, rounding and so the SHA-256 of the file differ.
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
from netlens.world._augmentation import augment
from netlens.world.network import SIZE, WEIGHTS, architecture, normalize
from netlens.world.scene import batch

SEED: Final = 1
HELD_OUT: Final = 2
"""The seeds of the scenes for training and for testing. The first is also that of the weights and disturbances."""

SCENES: Final = 12_000
EPOCHS: Final = 10
GENTLE: Final = 0.4
"""The share of epochs, at the start, in which the surroundings of the objects appear.

In these epochs, images get no adversarial change, because the network would not learn.
"""

POLISH: Final = 2
"""The number of epochs at the end with low learning rates."""

BATCH: Final = 64
RATE: Final = 4e-3
STRENGTH: Final = 12.0
"""The Euclidean norm of an adversarial change of a normalized image."""
THREADS: Final = 1  # rounding, and so the weights, depend on the number of threads

log = logging.getLogger(__name__)


def train(scenes: int = SCENES, epochs: int = EPOCHS, seed: int = SEED) -> nn.Module:
    """A network in eval mode, trained on `scenes` scenes. The random state of the caller stays as it was."""
    images, labels, masks = batch(seed, scenes, SIZE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # torchvision initializes from the global generator
        model: nn.Module = architecture()
    learn(model, images, labels, masks, epochs, seed)
    polish(model, images, labels, seed)
    return model.eval()


def learn(model: nn.Module, images: Tensor, labels: Tensor, masks: Tensor, epochs: int, seed: int) -> None:
    """Train on disturbed images, and later also on adversarial ones, in place.

    In the first epochs, the surroundings of the objects are nearly gray, because the network then learns the objects
    much faster. After that, each batch is learned twice: unchanged, and changed in the direction of the gradient of the
    loss, by a growing distance. So gradients and visualizations of the network show shapes and textures, and not noise.

    Shafahi et al. 2019, https://arxiv.org/abs/1904.12843; Engstrom et al. 2019, https://arxiv.org/abs/1906.00945
    """
    n_batches, gentle = len(images) // BATCH, max(1, round(GENTLE * epochs))
    lesson = _Lesson(model, RATE, n_batches * (2 * epochs - gentle))
    generator = Generator().manual_seed(seed)
    for epoch in range(epochs):
        total = torch.zeros(())
        for count, chosen in enumerate(batches(len(images), generator)):
            shown = _emerging(images[chosen], masks[chosen], min(1, (epoch + count / n_batches) / gentle))
            x = disturbed(shown, generator)
            if epoch < gentle:
                total += lesson(x, labels[chosen])
            else:
                hardened = (epoch - gentle + count / n_batches) / (epochs - gentle)
                total += _twice(lesson, x, labels[chosen], STRENGTH * min(1, 2 * hardened))
        log.info("epoch %d of %d: mean loss %.3f", epoch + 1, epochs, total / n_batches)
    lesson.progress.close()


def polish(model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> None:
    """Train a little more, in place, with the full distance and with a new, lower schedule of rates."""
    lesson = _Lesson(model, RATE / 4, 2 * POLISH * (len(images) // BATCH))
    generator = Generator().manual_seed(seed)
    for _ in range(POLISH):
        for chosen in batches(len(images), generator):
            _twice(lesson, disturbed(images[chosen], generator), labels[chosen], STRENGTH)
    lesson.progress.close()


def _twice(lesson: _Lesson, x: Tensor, labels: Tensor, distance: float) -> Tensor:
    """Learn a batch unchanged, and then changed by `distance` along the gradient. Return the first loss."""
    loss = lesson(x.requires_grad_(), labels)
    assert x.grad is not None
    lesson(x.detach() + distance * _direction(x.grad), labels)
    return loss


def _emerging(images: Tensor, masks: Tensor, presence: float) -> Tensor:
    """Images of bytes (N, 3, H, W), with surroundings blended with gray. At a presence of 0, they are plain gray."""
    return torch.where(masks[:, None], images, 128 + presence * (images - 128.0)).to(torch.uint8)


def _direction(gradient: Tensor) -> Tensor:
    """The gradient of each image (N, C, H, W), scaled to length 1."""
    direction: Tensor = gradient / torch.linalg.vector_norm(gradient, dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    return direction


class _Lesson:
    """Steps of an optimizer, with a learning rate that rises to `rate` and falls to 0 over `steps` steps."""

    def __init__(self, model: nn.Module, rate: float, steps: int) -> None:
        self.model = model.train().to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
        self.schedule = OneCycleLR(self.optimizer, max_lr=rate, total_steps=steps, pct_start=0.2)
        self.progress = tqdm(total=steps, desc="training", mininterval=10)

    def __call__(self, x: Tensor, labels: Tensor) -> Tensor:
        """Learn one batch, and return the loss before the step. The gradient is added to `x.grad` if x requires one."""
        # with smoothed labels, a probability above 0.9 does not lower the loss
        with torch.autocast("cpu", torch.bfloat16):  # several times as fast on processors with bfloat16
            logits = self.model(x)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=0.1)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.progress.update()
        return loss.detach()


def batches(n: int, generator: Generator) -> Iterable[Tensor]:
    """Batches of BATCH indices: the numbers from 0 to n - 1 in random order, without an incomplete last batch."""
    return torch.randperm(n, generator=generator)[: n // BATCH * BATCH].view(-1, BATCH)


def disturbed(images: Tensor, generator: Generator) -> Tensor:
    """(N, 3, H, W): images of bytes, augmented and normalized."""
    return normalize(augment(images, generator)).contiguous(memory_format=torch.channels_last)


def accuracy(model: nn.Module, n: int = 2000, seed: int = HELD_OUT) -> float:
    """The share of `n` scenes of a seed whose label has the largest logit."""
    images, labels, _ = batch(seed, n, SIZE)
    with torch.inference_mode():
        correct = [
            model(normalize(i)).argmax(1) == j for i, j in zip(images.split(100), labels.split(100), strict=True)
        ]
    return torch.cat(correct).float().mean().item()


def save(model: nn.Module, path: Path) -> str:
    """Write the weights as safetensors in float32, and return the SHA-256 of the file. It is never half written."""
    content = serialized({name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()})
    files.write(path, content)
    return hashlib.sha256(content).hexdigest()


def command(name: str, train: Callable[[int, int, int], nn.Module], output: Path, scenes: int, epochs: int) -> None:
    """The command line of a training. It trains a network, tests it on held-out scenes and writes the weights."""
    parser = argparse.ArgumentParser(description=f"Train the {name}.")
    parser.add_argument("--output", type=Path, default=output, help="file to write (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=scenes, help="scenes to learn from (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=epochs, help="passes over them (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=SEED, help="seed of scenes, weights and disturbances (default: %(default)s)"
    )
    arguments = parser.parse_args()
    if arguments.seed == HELD_OUT:
        parser.error(f"--seed {HELD_OUT} draws the scenes that test the network; give another one.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(THREADS)
    start = time.monotonic()
    model = train(arguments.scenes, arguments.epochs, arguments.seed)
    digest = save(model, arguments.output)
    log.info("%d parameters, %.0f s", sum(p.numel() for p in model.parameters()), time.monotonic() - start)
    log.info("held-out accuracy %.4f; SHA-256 %s", accuracy(model), digest)


def main() -> None:
    command("bundled network", train, WEIGHTS, SCENES, EPOCHS)


if __name__ == "__main__":
    main()
