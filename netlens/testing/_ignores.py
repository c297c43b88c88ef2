"""The claim that a network ignores a region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from netlens import heatmaps, objectives
from netlens.attribution import Attribution, Method
from netlens.attribution.baseline import Baseline
from netlens.attribution.method import picture
from netlens.errors import NetLensError
from netlens.evaluation import Case
from netlens.lens import NetLens
from netlens.objectives import Objective
from netlens.options import checked
from netlens.show import Tile
from netlens.testing._claim import HIDDEN, Claim, Over
from netlens.testing._drawing import image_tile, map_tile
from netlens.testing._regions import regions_of


def assert_ignores(
    lens: NetLens,
    region: Any,
    change: float = 0.05,
    *,
    share: float | None = None,
    fillings: Sequence[Baseline] = ("mean", "blur"),
    judged: Objective | None = None,
    over: Over = "each",
    method: Method | type[Method] | str = "integrated_gradients",
    **options: Any,
) -> None:
    """Assert that a network ignores a region: that its answer stays when something else is there.

    The region is filled in several ways, each alone. Measured is the largest change |p(x) - p(x, filled)| of the
    probability p of the explained class. This asks the network itself, and trusts no method of attribution.

    With `share`, it is asserted, too, that the attributions in the region are small:
    Σ inside |v| / Σ |v| ≤ share. Either claim may hold without the other: a region that is filled may be replaced by
    something that speaks for the same class, and attributions may lie where they change nothing.

    Args:
        lens: The network and N images.
        region: What is ignored, as `mask` in `assert_looks_at`.
        change: The largest change, at least 0: of the probability, or in the unit of `judged`.
        share: The largest share of the attribution, from 0 to below 1; None to ask for none.
        fillings: What is put there: names or numbers as for `baselines` of a method, at least one. A name is "mean",
            "blur", "black", "white" or "uniform".
        judged: The number that must stay; None for the probability of the class that the lens explains. Of maps of
            scores, of boxes and of networks without classes it is what the lens explains.
        over: "each" if each image must keep the bounds; "mean" if the mean over the images must.
        method: The method of the attribution, for `share`.
        options: Options of the method.

    Raises:
        AssertionError: The network does not ignore the region. The message has the numbers and the file of a picture.
        NetLensError: The region does not fit or is empty, or no filling changes it, so that the claim could not fail.
        NotApplicable: A filling has no meaning for the input.

    Example:
        >>> from netlens import open_network
        >>> from netlens.world.scene import scene
        >>> one = scene(1)
        >>> lens = NetLens(open_network(), one.image)
        >>> assert_ignores(lens, one.others)

    Ribeiro et al. 2016, https://arxiv.org/abs/1602.04938; Hooker et al. 2019, https://arxiv.org/abs/1806.10758
    """
    __tracebackhide__ = HIDDEN
    change = checked("change", change, float, least=0)
    share = checked("share", share, float | None, least=0, below=1)
    over = checked("over", over, Over)
    if isinstance(fillings, str | float | int | Tensor) or len(fillings) == 0:
        raise NetLensError('fillings is a list of baselines, at least one; such as ("mean", "blur").')
    regions = regions_of(lens, region, "region")
    answer = _answer(lens) if judged is None else judged
    what = "the probability" if judged is None and answer is not lens.objective else repr(answer)
    case = Case(lens.flat, lens.x, answer)
    inside = regions[:, None].to(lens.x.device)
    filled = [torch.where(inside, case.baseline(filling), lens.x) for filling in fillings]
    differs = torch.stack([(one != lens.x).flatten(1).any(1) for one in filled])
    same = (~differs.any(0)).nonzero().flatten().tolist()
    if same:
        raise NetLensError(
            f"no filling of {tuple(fillings)} changes the region of image {same[0]}, which is like this already, so "
            "the claim could not fail; give other fillings."
        )
    rows_of = range(len(case))
    after = torch.stack([case.values_of(rows_of, lambda rows, x=one: x[list(rows)]) for one in filled])  # type: ignore[misc]
    changes = (after - case.values).abs()
    worst = changes.nan_to_num(nan=torch.inf).argmax(0)
    values = changes.gather(0, worst[None])[0]
    subjects, word = _subjects(lens), what.removeprefix("the ")

    def rows(images: Sequence[int]) -> list[list[Tile]]:
        drawn = []
        for i in images:
            row = int(worst[i])
            image = picture(lens.flat, torch.cat([lens.x[i : i + 1], filled[row][i : i + 1]]))
            both = regions[[i, i]]
            before, now = float(case.values[i]), float(after[row, i])
            drawn.append(
                [
                    image_tile(image, 0, subjects[i], f"{word} {before:.3g}", both),
                    image_tile(image, 1, f"filled: {_filling_name(fillings[row])}", f"{word} {now:.3g}", both),
                ]
            )
        return drawn

    Claim(
        name="assert_ignores",
        sentence=f"the network {lens.flat.name} ignores the region",
        quantity=f"the change of {what} when the region is filled",
        values=values,
        bound=change,
        sign="≤",
        over=over,
        subjects=subjects,
        notes=[
            f"{float(case.values[i]):.3g} becomes {float(after[worst[i], i]):.3g}, filled by "
            f"{_filling_name(fillings[int(worst[i])])}"
            for i in rows_of
        ],
        rows=rows,
        look="Look at what the filling takes away or puts there: the network reads it.",
    ).settle()
    if share is not None:
        _small_share(lens, regions, share, lens.attribute(method, **options), over).settle()


def _small_share(lens: NetLens, regions: Tensor, share: float, attribution: Attribution, over: Over) -> Claim:
    """The claim that little of an attribution lies in the regions."""
    size = (regions.shape[1], regions.shape[2])
    sign: heatmaps.Sign = "positive" if attribution.reduction == "cam" else "absolute_value"
    heat = heatmaps.resize(heatmaps.reduce(attribution.spatial.cpu().double(), sign), size)[:, 0]
    total, inside = heat.flatten(1).sum(1), (heat * regions).flatten(1).sum(1)
    values = torch.where(total > 0, inside / total, torch.full_like(total, torch.nan))

    def rows(images: Sequence[int]) -> list[list[Tile]]:
        return [
            [
                image_tile(attribution.image, i, attribution.subject(i), "the region is outlined", regions),
                map_tile(attribution, i, attribution.title, f"{float(values[i]):.3g} inside the region", regions),
            ]
            for i in images
        ]

    covered = regions.flatten(1).double().mean(1)
    return Claim(
        name="assert_ignores",
        sentence=f"{attribution.title} finds little in the region that {lens.flat.name} ignores",
        quantity=f"the share of the magnitude of {attribution.title} that lies inside the region",
        values=values,
        bound=share,
        sign="≤",
        over=over,
        subjects=_subjects(lens),
        notes=[
            f"the region covers {float(part):.0%} of the image"
            if one > 0
            else "the attribution is 0 everywhere, which says nothing"
            for part, one in zip(covered, total, strict=True)
        ],
        rows=rows,
        look="Look where the map is bright inside the outline.",
    )


def _answer(lens: NetLens) -> Objective:
    """The probability of the explained classes; of maps, of boxes and without classes, the objective of the lens."""
    if not lens.targets or lens.scores.boxes or lens.scores.positions is not None:
        return lens.objective
    targets = list(lens.targets) if len(lens.targets) > 1 else lens.targets[0]
    return objectives.probability(targets if lens.head is None else (lens.head, targets))


def _subjects(lens: NetLens) -> list[str]:
    if not lens.targets:
        return [repr(lens.objective)] * len(lens.x)
    return [lens.name_of(target) for target in lens.targets]


def _filling_name(filling: Baseline) -> str:
    return f"a tensor {tuple(filling.shape)}" if isinstance(filling, Tensor) else str(filling)
