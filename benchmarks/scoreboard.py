"""`make scoreboard`: the share of positive attribution inside the true object, per method, on the little world."""

from __future__ import annotations

import argparse

from tqdm import tqdm

from netlens.attribution import METHODS
from netlens.evaluation import EdgeDetector, RandomMap, scoreboard
from netlens.world.scene import batch
from netlens.zoo import open_network

SEED = 7  # neither of the seeds that training and held-out accuracy use
CONTROLS = (EdgeDetector(), RandomMap())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    images = parser.parse_args().images
    pictures, labels, masks = batch(SEED, images)
    flat = open_network()
    x = flat.adapter.preprocessing.normalise(pictures / 255)
    methods = [*(method() for method in METHODS.values()), *CONTROLS]
    with tqdm(total=len(methods), disable=None) as bar:

        def tell(method: object) -> None:
            bar.set_description(type(method).__name__)
            bar.update()

        scores = scoreboard(flat, x, labels.tolist(), masks, methods, progress=tell)
    area = masks.float().mean().item()
    controls = {type(control).__name__ for control in CONTROLS}
    print(f"{images} scenes; the object covers {area:.3f} of an image\n")
    print("| method | inside the object | ± |\n|---|---|---|")
    for score in scores:
        name = f"*{score.method} (control)*" if score.method in controls else score.method
        print(f"| {name} | {score.mean:.3f} | {score.error:.3f} |")
    best = max(score.mean for score in scores if score.method in controls)
    below = [score.method for score in scores if score.method not in controls and score.mean <= best]
    print(f"\nNot above the best control: {', '.join(below) or 'none'}")


if __name__ == "__main__":
    main()
