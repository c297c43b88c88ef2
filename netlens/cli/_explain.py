"""`netlens explain`: explanations of pictures by several methods, side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netlens.cli._group import main, reported
from netlens.cli._options import classes_option, methods_named, methods_option, model_option, opened, weights_option
from netlens.cli._outputs import check_output
from netlens.errors import ImageError, NetLensError, NotApplicable

if TYPE_CHECKING:
    from netlens.attribution import Method
    from netlens.flat import FlatModel
    from netlens.lens import NetLens
    from netlens.results import Attribution

DEFAULT_METHODS = "saliency,guided_backprop,integrated_gradients,grad_cam,guided_grad_cam,occlusion,smooth_gradient"


@main.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@model_option
@weights_option
@classes_option
@methods_option(DEFAULT_METHODS)
@click.option(
    "--target",
    metavar="NAME|INDEX|HEAD:CLASS",
    help="The class to explain; by default the predicted one. Of a network with several outputs, name one: age:3.",
)
@click.option("--layer", metavar="KEY", help="The layer that class activation maps read; see `netlens layers`.")
@click.option(
    "--chunk",
    type=click.IntRange(min=1),
    metavar="N",
    help="The largest number of variants of an image that run together; by default as many as fit in memory.",
)
@click.option("-o", "--output", metavar="OUT", help="A .png file; for several images, a folder.")
def explain(
    images: tuple[str, ...],
    model: str,
    weights: str,
    classes: str | None,
    methods: tuple[str, ...],
    target: str | None,
    layer: str | None,
    chunk: int | None,
    output: str | None,
) -> None:
    """Explain pictures with several methods side by side.

    Each picture gets a PNG file of its own.

    \b
    netlens explain photo.jpg --method grad_cam,occlusion:window=32x16,stride=8
    netlens explain photo.jpg --method integrated_gradients:n_steps=100,baselines=blur --chunk 8
    netlens explain photo.jpg --method saliency --method extremal_perturbation:areas=0.05/0.1,n_steps=100
    """
    with reported():
        from netlens.attribution import chunks_of

        chosen = methods_named(methods)
        _make_methods(chosen, None)  # a wrong option raises here, before files are read
        outputs = _outputs(images, output)
        flat = opened(model, weights, classes)
        if layer is not None:
            layer = flat.key(layer)
        if layer is not None and not any(_reads_layer(text) for text in chosen):
            raise NetLensError(f"none of {', '.join(chosen)} reads a layer, so --layer has no effect; leave it out.")
        methods_by_text = _make_methods(chosen, layer)
        with chunks_of(chunk):
            for image, out in zip(images, outputs, strict=True):
                _explain_one(flat, image, out, methods_by_text, target)


def _explain_one(flat: FlatModel, image: str, out: Path, methods: Mapping[str, Method], target: str | None) -> None:
    from netlens.images import save
    from netlens.lens import NetLens
    from netlens.show import panel

    lens = NetLens(flat, image, target)
    click.echo(f"{image}: {flat.name} sees")
    for prediction in lens.predictions()[0]:
        click.echo(f"  {prediction.probability:6.3f}  {prediction.name} ({prediction.index})")
    attributions = list(_attributions(lens, methods))
    if not attributions:
        raise NotApplicable(f"none of the methods ({', '.join(methods)}) applies to {flat.name}.")
    save(panel(attributions, columns=min(4, len(attributions) + 1)).rgba(), out)
    click.echo(f"wrote {out}")


def _attributions(lens: NetLens, methods: Mapping[str, Method]) -> Iterator[Attribution]:
    """Yield the result of each method, and print its time. If a method does not apply, print the reason instead."""
    from netlens.attribution import together

    start = time.perf_counter()
    with together(list(methods.values()), lens.flat, lens.x, lens.objective) as x:
        seconds = time.perf_counter() - start
        if seconds >= 0.005:  # less time means that the methods share no run
            click.echo(f"  the run that methods share: {seconds:.2f} s")
        for name, method in methods.items():
            start = time.perf_counter()
            try:
                result = method(lens.flat, x, lens.objective)
            except NotApplicable as error:
                click.echo(f"  {name}: does not apply: {error}", err=True)
                continue
            click.echo(f"  {name}: {time.perf_counter() - start:.2f} s")
            yield result


def _make_methods(texts: Sequence[str], layer: str | None) -> dict[str, Method]:
    """Make methods from texts such as `occlusion:window=32`. Methods that read a layer get `layer`."""
    from netlens.attribution import method_from

    return {
        text: method_from(text, **({"layer": layer} if layer is not None and _reads_layer(text) else {}))
        for text in texts
    }


def _reads_layer(text: str) -> bool:
    from netlens.attribution import method_named
    from netlens.options import options_of

    return any(option.name == "layer" for option in options_of(method_named(text.partition(":")[0])))


def _outputs(images: tuple[str, ...], output: str | None) -> list[Path]:
    """Choose the output file of each image. Make its folder, and check that no image is overwritten."""
    if output is not None and Path(output).suffix.lower() in (
        ".jpg",
        ".jpeg",
        ".webp",
        ".gif",
        ".bmp",
        ".tif",
        ".tiff",
    ):
        raise ImageError(f"pictures are written as PNG, not as {output}; give a .png file, or a folder.")
    folder = Path(output) if output is not None and not output.lower().endswith(".png") else None
    if folder is None and output is not None and len(images) > 1:
        raise ImageError(f"{len(images)} images need a folder for their pictures; {output} is a file.")
    stems: list[str] = []
    for image in images:
        stem, count = Path(image).stem, 0
        while (stem if not count else f"{stem}-{count}") in stems:
            count += 1
        stems.append(stem if not count else f"{stem}-{count}")
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImageError(f"cannot make the folder {folder}: {error.strerror}; choose another -o.") from error
    if output is not None and folder is None:
        outputs = [Path(output)]
    else:
        outputs = [(folder if folder is not None else Path()) / f"{stem}-explained.png" for stem in stems]
    for out in outputs:
        check_output(out, images)
    return outputs
