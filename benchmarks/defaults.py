"""`python -m benchmarks.defaults`: each default of a method beside other values of its option, on four networks.

    python -m benchmarks.defaults --weights W --lite0 W --photos DIR [--networks NAME ...] [--only METHOD ...]
        [--slow] [--write]

W are the ImageNet weights of mobilenet_v2 and of timm's tf_efficientnet_lite0, which explain the photos of a folder.
The two bundled networks explain held-out scenes, whose masks are known. Scores stay in out/defaults, so that a second
run goes on where the first one stopped, and networks can run side by side. `--slow` also asks methods of many runs
about the photos, which takes long. `--write` puts the tables into docs/defaults.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.evaluation import case_of
from benchmarks.tables import write_between
from netlens.attribution.method import method_from, method_named
from netlens.evaluation import Case, Evaluation, evaluate
from netlens.evaluation.metrics import Deletion, Insertion, Metric
from netlens.images import load
from netlens.objectives import logit, probability
from netlens.options import options_of, spelled
from netlens.survey import usual_layers
from netlens.zoo import BUNDLED, open_network

PAGE = Path("docs/defaults.md")
PARTS = Path("out/defaults")
PHOTOS = {"egyptian_cat": 285, "macaw": 88, "samoyed": 258, "sunflower": 985}  # the classes of ImageNet
EARLIER = "layer=EARLIER"
SCENES, FEW = 12, 6
"""The number of scenes; for slow methods the fewest that can tell two methods apart."""
JUDGES: tuple[str | Metric, ...] = (Deletion(steps=8), Insertion(steps=8), "energy_inside")


@dataclass(frozen=True)
class Choice:
    """An option of a method and the values beside its default.

    Args:
        method: The name of the method.
        values: Options as texts, such as `window=16,stride=8`. All name the same options.
        at: Further options for all rows; with fewer samples, slow methods are judged on all networks in minutes.
        scenes: The number of scenes of the little world.
    """

    method: str
    values: tuple[str, ...]
    at: str = ""
    scenes: int = SCENES

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the options."""
        return tuple(value.partition("=")[0] for value in self.values[0].split(","))

    @property
    def default(self) -> str:
        """The defaults of these options, as a text."""
        usual = {option.name: option.default for option in options_of(method_named(self.method))}
        return ",".join(f"{name}={spelled(usual[name])}" for name in self.options)

    def text(self, value: str) -> str:
        """The method with a value of the option, or with its default, as the command line takes it."""
        options = ",".join(part for part in (self.at, value if value != self.default else "") if part)
        return f"{self.method}:{options}" if options else self.method


def _each(methods: str, values: tuple[str, ...], at: str = "", scenes: int = SCENES) -> tuple[Choice, ...]:
    return tuple(Choice(method, values, at, scenes) for method in methods.split())


BASELINES = ("baselines=blur", "baselines=mean", "baselines=uniform", "baselines=black")
SEGMENTS = ("n_segments=25", "n_segments=100")
CHOICES: tuple[Choice, ...] = (
    *_each("integrated_gradients deep_lift", BASELINES),
    *_each("integrated_gradients", ("n_steps=10", "n_steps=20", "n_steps=200")),
    *_each("integrated_gradients deep_lift", ("multiply=false",)),
    *_each("blur_integrated_gradients", ("max_sigma=10", "max_sigma=25", "max_sigma=100"), "", FEW),
    *_each("guided_integrated_gradients", BASELINES, "n_steps=50", FEW),
    *_each("guided_integrated_gradients", ("fraction=0.1", "fraction=0.5"), "n_steps=50", FEW),
    *_each("gradient_shap", ("noise_level=0.1", "noise_level=0.3"), "", FEW),
    *_each("smooth_gradient", ("noise_level=0.05", "noise_level=0.1", "noise_level=0.3")),
    *_each("smooth_gradient", ("n_samples=10", "n_samples=50")),
    *_each("smooth_gradient_squared var_grad", ("noise_level=0.05", "noise_level=0.3"), "", FEW),
    *_each("deep_lift_shap", ("n_samples=2", "n_samples=10"), "", FEW),
    *_each(
        "lrp",
        (
            *("composite=epsilon", "composite=epsilon_plus_flat", "composite=epsilon_alpha2_beta1"),
            *("composite=epsilon_gamma_box", "composite=epsilon_gamma_box:gamma=0.1"),
            "composite=epsilon_gamma_box:gamma=1",
        ),
    ),
    *_each("grad_cam hi_res_cam layer_cam eigen_cam guided_grad_cam", (EARLIER,)),
    *_each("grad_cam layer_cam", ("relu=false",)),
    *_each("eigen_cam eigen_grad_cam", ("centered=true",)),
    *_each("smooth_grad_cam_plus_plus", ("noise_level=0.05", "noise_level=0.3")),
    *_each("finer_cam", ("alpha=0.3", "alpha=1.0")),
    *_each("finer_cam", ("n_similar=1", "n_similar=5")),
    *_each("ablation_cam", ("relative=false",), "", FEW),
    *_each("score_cam", ("convention=pytorch-grad-cam", "convention=torchcam"), "n_channels=64", FEW),
    *_each("attention_rollout", ("fusion=max", "fusion=min")),
    *_each("attention_rollout", ("discard_ratio=0.5", "discard_ratio=0.9")),
    *_each("information_bottleneck", ("beta=1", "beta=100"), "", FEW),
    *_each("occlusion", ("window=16,stride=8", "window=64,stride=32")),
    *_each("occlusion feature_ablation", BASELINES),
    *_each("feature_ablation", SEGMENTS),
    *_each("kernel_shap lime", SEGMENTS, "n_samples=300", FEW),
    *_each("kernel_shap lime", BASELINES, "n_samples=300", FEW),
    *_each("lime", ("kernel_width=0.1", "kernel_width=0.5"), "n_samples=300", FEW),
    *_each("shapley_value_sampling", SEGMENTS, "n_samples=5", FEW),
    *_each("rise", ("centered=true",), "n_masks=500", FEW),
    *_each("rise", BASELINES, "n_masks=500,centered=true", FEW),
    *_each("rise", ("grid_size=5", "grid_size=10"), "n_masks=500,centered=true", FEW),
    *_each("rise", ("probability=0.25", "probability=0.75"), "n_masks=500,centered=true", FEW),
    *_each("sobol_attribution", BASELINES, "n_samples=8", FEW),
    *_each("hsic_attribution", BASELINES, "n_masks=500", FEW),
    *_each("extremal_perturbation", ("areas=0.05", "areas=0.2"), "n_steps=100", FEW),
)


def photographed(name: str, weights: Path, photos: Path) -> Case:
    """The case of the photos, judged by the probability of their classes."""
    flat = open_network(name, weights)
    x = flat.adapter.preprocessing([load(photos / f"{photo}.jpg") for photo in PHOTOS])
    targets = list(PHOTOS.values())
    return Case(flat, x, logit(targets), probability(targets))


def judged(case: Case, network: str, choice: Choice) -> Evaluation:
    """The scores of all values of a choice, the default first."""
    few = case.take(range(min(choice.scenes, len(case))))
    judges = JUDGES if case.masks is not None else JUDGES[:2]
    methods = {}
    for value in (choice.default, *choice.values):
        text = choice.text(value)
        if EARLIER in text:
            text = text.replace(EARLIER, f"layer={usual_layers(case.flat)[-2]}")
        methods[value] = method_from(text)
    return evaluate(few, methods, judges, controls=False, parts=PARTS / network.replace("/", "_"))


def cell(table: Evaluation, value: str, metric: str) -> str:
    """A mean: bold if the pictures tell that it is better than that of the default, italic if worse."""
    if (value,) in table.why:
        return ""
    number = f"{table.of(value, metric).mean:.2f}"
    usual = table.methods[0]
    if value == usual or not table.differ(value, usual, metric):
        return number
    better = table.ranking(metric).index(value) < table.ranking(metric).index(usual)
    return f"**{number}**" if better else f"*{number}*"


def tables(results: Mapping[str, Mapping[Choice, Evaluation | None]]) -> str:
    """A table for each option, with a row for each method and value, and the columns of each network."""
    columns = [(network, metric) for network in results for metric in _metrics(results[network])]
    texts = []
    for options in dict.fromkeys(choice.options for choice in CHOICES):
        lines = [
            f"### {' and '.join(f'`{option}`' for option in options)}", "",
            f"| method | value | {' | '.join(f'{network}: {metric}' for network, metric in columns)} |",
            "|---|---|" + "--:|" * len(columns),
        ]  # fmt: skip
        for choice in CHOICES:
            if choice.options != options:
                continue
            for value in (choice.default, *choice.values):
                of = [(results[network][choice], metric) for network, metric in columns]
                cells = ["" if table is None else cell(table, value, metric) for table, metric in of]
                name = choice.text(choice.default) if value == choice.default else ""
                lines.append(f"| {name and f'`{name}`'} | {_short(value)} | {' | '.join(cells)} |")
        texts.append("\n".join(lines))
    return "\n\n".join(texts)


def _metrics(of_network: Mapping[Choice, Evaluation | None]) -> tuple[str, ...]:
    return next(table.metrics for table in of_network.values() if table is not None)


def _short(value: str) -> str:
    """The values of the options without their names, as `16, 8` of `window=16,stride=8`."""
    return ", ".join(part.partition("=")[2] for part in value.split(",")).replace("EARLIER", "one block earlier")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("weights", "lite0", "photos"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    names = (*BUNDLED, "mobilenet_v2", "timm/tf_efficientnet_lite0")
    parser.add_argument("--networks", choices=names, nargs="*", default=names)
    parser.add_argument("--only", choices=sorted({choice.method for choice in CHOICES}), nargs="*")
    parser.add_argument("--slow", action="store_true", help="judge slow methods on the photos, too")
    parser.add_argument("--write", action="store_true", help="write the tables, for which all four networks are needed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [choice for choice in CHOICES if not options.only or choice.method in options.only]
    results: dict[str, dict[Choice, Evaluation | None]] = {}
    for name in options.networks:
        weights = options.lite0 if name.startswith("timm/") else options.weights
        case = case_of(name, SCENES) if name in BUNDLED else photographed(name, weights, options.photos)
        results[name] = {}
        for choice in (bar := tqdm(chosen, disable=None, desc=name)):
            bar.set_postfix_str(choice.text(choice.default))
            is_asked = options.slow or name in BUNDLED or choice.scenes > FEW
            results[name][choice] = judged(case, name, choice) if is_asked else None
    if options.write:
        write_between(PAGE, "defaults", tables(results))


if __name__ == "__main__":
    main()
