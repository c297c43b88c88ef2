"""`make visual`: how good pictures are, in comparison with lucent. The finished 8-bit pictures are judged.

    python -m benchmarks.visual --weights FILE --photo PHOTO

Channels are chosen at random, four at each of six depths of mobilenet_v2. `reached` is the activation of the channel on
the undisturbed picture, divided by the highest activation of both programs. A picture counts as gray if the standard
deviation of its values is below 0.05. `kept` is the activation after disturbances that no optimization used, divided by
that before them: for the middle of the picture, which shifts and rotations do not cut, and for the whole picture, which
gets gray edges.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision.transforms.functional as TF
from PIL import Image
from torch import Tensor

from benchmarks import lucent
from benchmarks.tables import write_between
from netlens.flat import FlatModel
from netlens.images import to_pil
from netlens.visualization import Frames, NetDreamer, invert
from netlens.visualization.picture import picture_for
from netlens.weights import build
from netlens.zoo import open_network

PAGE, FILE = Path("docs/visualization.md"), Path("docs/visualization.json")
DEPTHS = ("features.4", "features.7", "features.11", "features.14", "features.17", "features.18")
CHANNELS, STEPS, SIZE, SEED, GRAY = 4, (64, 128, 256, 512), 224, 0, 0.05
MIDDLE = 176  # pixels; a rotation by 15° does not cut this part
CLASSES = ("macaw", "daisy", "Samoyed", "lion", "goldfish", "monarch")


def saved(picture: Tensor) -> Image.Image:
    """The picture as in a file: with 8 bits per value."""
    return to_pil(picture[0])


def activation(flat: FlatModel, key: str, index: int, picture: Image.Image) -> float:
    x = flat.adapter.preprocessing.normalize(TF.to_tensor(picture)[None])
    return float(flat.record(x, layers=key)[flat.key(key)][0, index].mean())


def shift(picture: Image.Image) -> Image.Image:
    moved: Image.Image = TF.affine(picture, 0, [13, -9], 1.0, [0.0], TF.InterpolationMode.BILINEAR, [127, 127, 127])
    return moved


def turned(degrees: float) -> Callable[[Image.Image], Image.Image]:
    return lambda picture: TF.rotate(picture, degrees, TF.InterpolationMode.BILINEAR, fill=[127, 127, 127])


def blurred(picture: Image.Image) -> Image.Image:
    softer: Image.Image = TF.gaussian_blur(picture, [7, 7], [1.5, 1.5])
    return softer


def middle(picture: Image.Image) -> Image.Image:
    cropped: Image.Image = TF.center_crop(picture, [MIDDLE, MIDDLE])
    return cropped


def unchanged(picture: Image.Image) -> Image.Image:
    return picture


def as_jpeg(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=75)
    return Image.open(file).convert("RGB")


DISTURBANCES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "shifted": shift,
    "turned by 15°": turned(15),
    "turned by -15°": turned(-15),
    "JPEG 75": as_jpeg,
    "blurred": blurred,
}
PARTS: dict[str, Callable[[Image.Image], Image.Image]] = {"the middle": middle, "all of it": unchanged}


def lots(flat: FlatModel) -> Iterator[tuple[str, list[int]]]:
    lot = random.Random(SEED)
    for key in DEPTHS:
        count = flat.record(torch.zeros(1, 3, 64, 64), layers=key)[flat.key(key)].shape[1]
        yield key, sorted(lot.sample(range(count), CHANNELS))


def ours(flat: FlatModel, key: str, channels: list[int]) -> dict[int, list[Image.Image]]:
    """For each channel, the pictures after each number of steps in STEPS."""
    frames = Frames(every=STEPS[0])
    dreamer = NetDreamer(flat, size=SIZE, steps=STEPS[-1], seed=SEED, options={"callbacks": [frames]})
    dreamer.channel(key, channels)
    images_by_steps = [frames.images[steps // STEPS[0]] for steps in STEPS]
    return {index: [saved(images[i : i + 1]) for images in images_by_steps] for i, index in enumerate(channels)}


def shares(flat: FlatModel, key: str, index: int, picture: Image.Image) -> dict[str, dict[str, float]]:
    """The activation of the disturbed picture, as a share of that of the picture, by part and disturbance.

    Both pictures are cut to the part.
    """
    return {
        name: {
            kind: activation(flat, key, index, cut(disturb(picture))) / activation(flat, key, index, cut(picture))
            for kind, disturb in DISTURBANCES.items()
        }
        for name, cut in PARTS.items()
    }


def channels(flat: FlatModel, network: torch.nn.Module) -> dict[str, object]:
    """`reached`, `spread` and `kept` for both programs, with a row per channel."""
    reached: dict[str, list[list[float]]] = {"netlens": [], "lucent": []}
    spread: dict[str, list[float]] = {"netlens": [], "lucent": []}
    remaining: dict[str, list[dict[str, dict[str, float]]]] = {"netlens": [], "lucent": []}
    names = []
    for key, indices in lots(flat):
        ours_by_channel = ours(flat, key, indices)
        for index in indices:
            names.append(f"{key}:{index}")
            peer_pictures = [saved(picture) for picture in lucent.pictures(network, key, index, SIZE, STEPS)]
            for maker, pictures in (("netlens", ours_by_channel[index]), ("lucent", peer_pictures)):
                values = [activation(flat, key, index, picture) for picture in pictures]
                reached[maker].append(values)
                spread[maker].append(float(TF.to_tensor(pictures[-1]).std()))
                if values[-1] > 0:
                    remaining[maker].append(shares(flat, key, index, pictures[-1]))
            print(names[-1], *(f"{maker} {rows[-1]}" for maker, rows in reached.items()), flush=True)
    return {"channels": names, "reached": reached, "spread": spread, "kept": remaining}


def table_of_channels(results: dict[str, Any]) -> list[str]:
    best = [max(max(a), max(b)) for a, b in zip(*results["reached"].values(), strict=True)]
    lines = [f"| | {' | '.join(f'{steps} steps' for steps in STEPS)} | gray |", "|---" * (len(STEPS) + 2) + "|"]
    for maker, rows in results["reached"].items():
        cells = [spread_of([row[i] / top for row, top in zip(rows, best, strict=True)]) for i in range(len(STEPS))]
        spreads = results["spread"][maker]
        cells.append(f"{sum(value < GRAY for value in spreads)} of {len(spreads)}")
        lines.append(f"| {maker} | {' | '.join(cells)} |")
    pairs = list(zip(*results["reached"].values(), strict=True))
    ahead = [sum(a[i] >= b[i] for a, b in pairs) for i in range(len(STEPS))]
    return [*lines, "", f"netlens reaches as much as lucent or more for {ahead} of {len(best)} channels."]


def table_of_kept(results: dict[str, Any]) -> list[str]:
    lines = [f"| kept | by | {' | '.join(DISTURBANCES)} |", "|---" * (len(DISTURBANCES) + 2) + "|"]
    for part in PARTS:
        for maker, rows in results["kept"].items():
            cells = [spread_of([row[part][name] for row in rows]) for name in DISTURBANCES]
            lines.append(f"| {part} | {maker} | {' | '.join(cells)} |")
    return lines


def spread_of(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def rank(flat: FlatModel, target: int, picture: Image.Image) -> tuple[int, float]:
    """The rank of a class among the predictions, from 1, and its probability."""
    image = picture.resize(flat.adapter.preprocessing.size[::-1]) if flat.adapter.preprocessing.size else picture
    x = flat.adapter.preprocessing.normalize(TF.to_tensor(image)[None])
    with torch.no_grad():
        scores = flat.logits(flat(x))[0].softmax(0)
    return int((scores > scores[target]).sum()) + 1, float(scores[target])


def classes(flat: FlatModel) -> list[str]:
    """The ranks of classes on pictures of them. Each bundled network also judges the pictures of the other one."""
    assert flat.classes is not None
    lines = ["| pictures by | judged by | rank 1 | least probability |", "|---|---|---|---|"]
    indices = [next(i for i, name in enumerate(flat.classes) if name.startswith(name_)) for name_ in CLASSES]
    images = NetDreamer(flat, size=SIZE, steps=256).classes(indices).images
    lines.append(judged(flat, flat, indices, images))
    bundled = [open_network("shapes"), open_network("shapes_vit")]
    for maker, judge in zip(bundled, reversed(bundled), strict=True):
        assert maker.classes is not None
        all_classes = list(range(len(maker.classes)))
        images = NetDreamer(maker, steps=256).classes(all_classes).images
        lines += [judged(maker, maker, all_classes, images), judged(maker, judge, all_classes, images)]
    return lines


def judged(maker: FlatModel, judge: FlatModel, targets: list[int], images: Tensor) -> str:
    ranks = [rank(judge, target, saved(images[i : i + 1])) for i, target in enumerate(targets)]
    hits = sum(r == 1 for r, _ in ranks)
    least = min(probability for _, probability in ranks)
    return f"| {maker.name} | {judge.name} | {hits} of {len(ranks)} | {least:.2f} |"


def inversion(flat: FlatModel, photo: Path) -> list[str]:
    """The distance of features and the PSNR, by depth."""
    render = invert(flat, photo, DEPTHS, size=SIZE)
    original = picture_for(flat, photo, SIZE)
    lines = ["| layer | distance | PSNR, dB |", "|---|---|---|"]
    assert render.captions is not None
    for i, caption in enumerate(render.captions):
        key, distance = caption.split(" · ")
        picture = TF.to_tensor(saved(render.images[i : i + 1]))[None]
        error = (picture - original.to(picture)).square().mean()
        lines.append(f"| {key} | {distance} | {-10 * error.log10():.1f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True, help="ImageNet weights of mobilenet_v2")
    parser.add_argument("--photo", required=True, type=Path)
    parser.add_argument("--only", choices=("channels", "classes", "inversion"), nargs="+")
    options = parser.parse_args()
    torch.manual_seed(SEED)
    flat = open_network("mobilenet_v2", options.weights)
    only = options.only or ("channels", "classes", "inversion")
    if "channels" in only:
        results = channels(flat, build("mobilenet_v2", options.weights))
        FILE.write_text(json.dumps({"steps": STEPS, **results}, indent=1) + "\n")
        publish("channels", [*table_of_channels(results), "", *table_of_kept(results)])
    if "classes" in only:
        publish("recognized", classes(flat))
    if "inversion" in only:
        publish("inversion", inversion(flat, options.photo))


def publish(mark: str, lines: list[str]) -> None:
    print("\n".join(lines), flush=True)
    write_between(PAGE, mark, "\n".join(lines))


if __name__ == "__main__":
    main()
