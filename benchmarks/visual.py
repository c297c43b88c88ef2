"""`make visual`: how good pictures are, beside lucent's, judged on the finished 8-bit pictures.

    python -m benchmarks.visual --weights FILE --photo PHOTO

Channels are drawn by lot, four at each of six depths of mobilenet_v2. `reached` is the channel's activation on the
undisturbed picture, as a share of the best that anybody reached for it. A picture is gray whose values' standard
deviation is below 0.05. `kept` is the share of the activation that is left after disturbances which no optimization
has seen: of the middle of the picture, which shifts and turns leave whole, and of all of it, where gray comes in at the
edges.
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
MIDDLE = 176  # pixels, all of which are seen in a picture turned by 15°
CLASSES = ("macaw", "daisy", "Samoyed", "lion", "goldfish", "monarch")


def saved(picture: Tensor) -> Image.Image:
    """As it lies in a file: 8 bits a value."""
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


def whole(picture: Image.Image) -> Image.Image:
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
PARTS: dict[str, Callable[[Image.Image], Image.Image]] = {"the middle": middle, "all of it": whole}


def lots(flat: FlatModel) -> Iterator[tuple[str, list[int]]]:
    lot = random.Random(SEED)
    for key in DEPTHS:
        count = flat.record(torch.zeros(1, 3, 64, 64), layers=key)[flat.key(key)].shape[1]
        yield key, sorted(lot.sample(range(count), CHANNELS))


def ours(flat: FlatModel, key: str, channels: list[int]) -> dict[int, list[Image.Image]]:
    """For each channel the pictures after each of STEPS."""
    frames = Frames(every=STEPS[0])
    dreamer = NetDreamer(flat, size=SIZE, steps=STEPS[-1], seed=SEED, options={"callbacks": [frames]})
    dreamer.channel(key, channels)
    at = [frames.images[steps // STEPS[0]] for steps in STEPS]
    return {index: [saved(images[i : i + 1]) for images in at] for i, index in enumerate(channels)}


def shares(flat: FlatModel, key: str, index: int, picture: Image.Image) -> dict[str, dict[str, float]]:
    """How much of the activation is kept, by part of the picture and disturbance."""
    return {
        name: {
            kind: activation(flat, key, index, part(disturb(picture))) / activation(flat, key, index, part(picture))
            for kind, disturb in DISTURBANCES.items()
        }
        for name, part in PARTS.items()
    }


def channels(flat: FlatModel, network: torch.nn.Module) -> dict[str, object]:
    """Reached, gray and kept, for both; rows of channels in the order of the lots."""
    reached: dict[str, list[list[float]]] = {"netlens": [], "lucent": []}
    spread: dict[str, list[float]] = {"netlens": [], "lucent": []}
    kept: dict[str, list[dict[str, dict[str, float]]]] = {"netlens": [], "lucent": []}
    names = []
    for key, indices in lots(flat):
        made = ours(flat, key, indices)
        for index in indices:
            names.append(f"{key}:{index}")
            theirs = [saved(picture) for picture in lucent.pictures(network, key, index, SIZE, STEPS)]
            for who, pictures in (("netlens", made[index]), ("lucent", theirs)):
                values = [activation(flat, key, index, picture) for picture in pictures]
                reached[who].append(values)
                spread[who].append(float(TF.to_tensor(pictures[-1]).std()))
                if values[-1] > 0:
                    kept[who].append(shares(flat, key, index, pictures[-1]))
            print(names[-1], *(f"{who} {rows[-1]}" for who, rows in reached.items()), flush=True)
    return {"channels": names, "reached": reached, "spread": spread, "kept": kept}


def table_of_channels(found: dict[str, Any]) -> list[str]:
    best = [max(max(one), max(other)) for one, other in zip(*found["reached"].values(), strict=True)]
    lines = [f"| | {' | '.join(f'{steps} steps' for steps in STEPS)} | gray |", "|---" * (len(STEPS) + 2) + "|"]
    for who, rows in found["reached"].items():
        cells = [spread_of([row[i] / top for row, top in zip(rows, best, strict=True)]) for i in range(len(STEPS))]
        spreads = found["spread"][who]
        cells.append(f"{sum(value < GRAY for value in spreads)} of {len(spreads)}")
        lines.append(f"| {who} | {' | '.join(cells)} |")
    pairs = list(zip(*found["reached"].values(), strict=True))
    ahead = [sum(one[i] >= other[i] for one, other in pairs) for i in range(len(STEPS))]
    return [*lines, "", f"netlens reaches as much as lucent or more for {ahead} of {len(best)} channels."]


def table_of_kept(found: dict[str, Any]) -> list[str]:
    lines = [f"| kept | by | {' | '.join(DISTURBANCES)} |", "|---" * (len(DISTURBANCES) + 2) + "|"]
    for part in PARTS:
        for who, rows in found["kept"].items():
            cells = [spread_of([row[part][name] for row in rows]) for name in DISTURBANCES]
            lines.append(f"| {part} | {who} | {' | '.join(cells)} |")
    return lines


def spread_of(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def rank(flat: FlatModel, target: int, picture: Image.Image) -> tuple[int, float]:
    """The place of a class among the predictions, 1 the first, and its probability."""
    image = picture.resize(flat.adapter.preprocessing.size[::-1]) if flat.adapter.preprocessing.size else picture
    x = flat.adapter.preprocessing.normalize(TF.to_tensor(image)[None])
    with torch.no_grad():
        scores = flat.logits(flat(x))[0].softmax(0)
    return int((scores > scores[target]).sum()) + 1, float(scores[target])


def classes(flat: FlatModel) -> list[str]:
    """The own network's rank of ImageNet classes; and the bundled ones', each of pictures that the other made."""
    assert flat.classes is not None
    lines = ["| pictures by | judged by | rank 1 | least probability |", "|---|---|---|---|"]
    indices = [next(i for i, name in enumerate(flat.classes) if name.startswith(wanted)) for wanted in CLASSES]
    made = NetDreamer(flat, size=SIZE, steps=256).classes(indices).images
    lines.append(judged(flat, flat, indices, made))
    bundled = [open_network("shapes"), open_network("shapes_vit")]
    for maker, judge in zip(bundled, reversed(bundled), strict=True):
        assert maker.classes is not None
        every = list(range(len(maker.classes)))
        made = NetDreamer(maker, steps=256).classes(every).images
        lines += [judged(maker, maker, every, made), judged(maker, judge, every, made)]
    return lines


def judged(maker: FlatModel, judge: FlatModel, targets: list[int], made: Tensor) -> str:
    places = [rank(judge, target, saved(made[i : i + 1])) for i, target in enumerate(targets)]
    first = sum(place == 1 for place, _ in places)
    least = min(probability for _, probability in places)
    return f"| {maker.name} | {judge.name} | {first} of {len(places)} | {least:.2f} |"


def inversion(flat: FlatModel, photo: Path) -> list[str]:
    """Distance of features and PSNR, by depth."""
    made = invert(flat, photo, DEPTHS, size=SIZE)
    original = picture_for(flat, photo, SIZE)
    lines = ["| layer | distance | PSNR, dB |", "|---|---|---|"]
    assert made.captions is not None
    for i, caption in enumerate(made.captions):
        key, distance = caption.split(" · ")
        picture = TF.to_tensor(saved(made.images[i : i + 1]))[None]
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
        found = channels(flat, build("mobilenet_v2", options.weights))
        FILE.write_text(json.dumps({"steps": STEPS, **found}, indent=1) + "\n")
        publish("channels", [*table_of_channels(found), "", *table_of_kept(found)])
    if "classes" in only:
        publish("recognized", classes(flat))
    if "inversion" in only:
        publish("inversion", inversion(flat, options.photo))


def publish(mark: str, lines: list[str]) -> None:
    print("\n".join(lines), flush=True)
    write_between(PAGE, mark, "\n".join(lines))


if __name__ == "__main__":
    main()
