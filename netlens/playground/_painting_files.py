"""Files of the tab Style, made when they are asked for: pictures, batches with their pictures, contact sheets."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from netlens import images
from netlens.errors import NetLensError
from netlens.playground._painting import MOST_OF_GRID, Painting, Run, label
from netlens.playground._store import digest
from netlens.playground._studio import MOST_BYTES, MOST_PIXELS, Studio, pixels_of, read_capped
from netlens.visualization.style import (
    SETTINGS,
    STARTS,
    Batch,
    Job,
    Outcome,
    StyleTransfer,
    as_settings,
    contact_sheet,
    packed,
    unpacked,
)

_KINDS = {"png": "image/png", "zip": "application/zip", "jpg": "image/jpeg"}
_SHORT = 80  # bytes of a long name that its short form keeps
_MOST_UNPACKED = 8 * MOST_BYTES
MOST_TOGETHER = 2 * MOST_PIXELS
"""The largest number of pixels of all pictures of a batch; they stay in the memory of the page."""
_GONE = "This is no longer here; paint it again."


@dataclass(frozen=True, eq=False)
class Pack:
    """Paintings as a batch, of which a .zip is made when somebody asks for it."""

    studio: Studio = field(repr=False)
    paintings: tuple[Painting, ...]

    @property
    def nbytes(self) -> int:
        """The memory that it holds."""
        masks = {id(mask): mask for one in self.paintings for pair in one.masks for mask in pair if mask is not None}
        return 1000 * len(self.paintings) + sum(mask.width * mask.height for mask in masks.values())

    def file(self, kind: str) -> bytes | None:
        """The .zip that `netlens stylize --batch` reads."""
        return batch_of(self.studio, self.paintings) if kind == "zip" else None


@dataclass(frozen=True, eq=False)
class Sheet:
    """A contact sheet."""

    picture: Image.Image = field(repr=False)
    data: bytes = field(repr=False)

    @property
    def nbytes(self) -> int:
        """The memory that it holds."""
        return len(self.data) + 3 * self.picture.width * self.picture.height

    def file(self, kind: str) -> bytes | None:
        """Its JPEG."""
        return self.data if kind == "jpg" else None


def add_style_files(app: Any, studio: Studio) -> None:
    """Add the route of these files, `/style/KEY.png`, `.zip` and `.jpg`, to an application of FastAPI."""
    from fastapi import Response
    from fastapi.responses import PlainTextResponse

    def painted(key: str, kind: str) -> Response:
        item = studio.painted.get(key)
        try:
            data = None if item is None or kind not in _KINDS else item.file(kind)
        except NetLensError as error:  # a picture of the batch is gone
            return PlainTextResponse(" ".join(str(error).split()), 404)
        if data is None:
            return PlainTextResponse(_GONE, 404)
        name = {"png": "stylized", "zip": "batch", "jpg": "contact"}[kind]
        disposition = f'attachment; filename="{name}-{key[:6]}.{kind}"'
        return Response(data, media_type=_KINDS[kind], headers={"content-disposition": disposition})

    app.add_api_route("/style/{key}.{kind}", painted, methods=["GET"])


def file_of(studio: Studio, name: str) -> str:
    """The name of a picture's file in a batch."""
    if isinstance(studio.pictures.get(name), Path):
        return name
    return f"{folder_name(name)}.png"


def batch_of(studio: Studio, paintings: Sequence[Painting]) -> bytes:
    """Paintings as a .zip: each pair of pictures and each of the settings once, where they are all combined.

    Raises:
        NetLensError: A picture is no longer here, or the paintings are no grid.
    """
    pictures: dict[str, bytes] = {}
    pairs: dict[str, dict[str, Any]] = {}
    settings: dict[str, dict[str, Any]] = {}
    for one in paintings:
        for name in one.pictures:
            pictures.setdefault(file_of(studio, name), _bytes_of(studio, name))
        pairs.setdefault(_pair_name(one), _pair(studio, one, pictures))
        plain = dict(one.settings) if one.start is None else {**one.settings, "start": file_of(studio, one.start)}
        settings.setdefault(folder_name(one.label), plain)
    if len(pairs) * len(settings) != len({(_pair_name(one), one.label) for one in paintings}):
        raise NetLensError("a batch holds all pairs of pictures with all settings, and these runs are no such grid.")
    network = {"model": studio.model, "weights": studio.weights}
    return packed(list(pairs.values()), settings, pictures, network)


def _pair_name(painting: Painting) -> str:
    masks = "" if not painting.masked else f" masked {_print_of(painting)}"
    return folder_name(" in ".join([painting.content, " and ".join(painting.styles)]) + masks)


def _print_of(painting: Painting) -> str:
    return digest(*(b"" if mask is None else mask.tobytes() for pair in painting.masks for mask in pair))[:6]


def folder_name(name: str) -> str:
    """A name as that of a folder. Different names have different folders."""
    safe = "".join("-" if letter in '/\\:*?"<>|' or not letter.isprintable() else letter for letter in name)
    if safe == name and len(safe.encode()) <= _SHORT + 7:
        return safe
    short = safe.encode()[:_SHORT].decode(errors="ignore")
    return f"{short} {digest(name)[:6]}"


def _pair(studio: Studio, painting: Painting, pictures: dict[str, bytes]) -> dict[str, Any]:
    styles = [file_of(studio, name) for name in painting.styles]
    pair: dict[str, Any] = {"name": _pair_name(painting), "content": file_of(studio, painting.content), "style": styles}
    if painting.masked:
        for k, side in enumerate(("content_mask", "style_mask")):
            pair[side] = [_mask_file(both[k], pictures) for both in painting.masks]
            if not any(pair[side]):
                del pair[side]
    return pair


def _mask_file(mask: Image.Image | None, pictures: dict[str, bytes]) -> str | None:
    if mask is None:
        return None
    pictures[mask_name(mask)] = _png(mask)
    return mask_name(mask)


def mask_name(mask: Image.Image) -> str:
    """The name of a mask's file in a batch."""
    return f"mask {digest(mask.size, mask.tobytes())[:8]}.png"


def _bytes_of(studio: Studio, name: str) -> bytes:
    source = studio.pictures.get(name)
    if isinstance(source, Path):
        try:
            return source.read_bytes()
        except OSError as error:
            raise NetLensError(f"{name} cannot be read ({error.strerror}).") from error
    return _png(studio.picture(name))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def paintings_of(studio: Studio, path: Path) -> list[Painting]:
    """The paintings of a batch: a .zip with its pictures, or a file that names pictures of the playground.

    Pictures that the playground does not have are kept as those of users are.

    Raises:
        NetLensError: The file is wrong, asks for too much, or needs another network.
    """
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise NetLensError(f"{path.name} has over {MOST_BYTES // 2**20} MB; give it to netlens stylize --batch.")
    try:
        with unpacked(path, _MOST_UNPACKED) as file:
            root = file.parent if file != path else _folder_of(studio)
            jobs = _read(studio, file, root).jobs
            # each picture and each mask is decoded and kept once, however many jobs name it
            name_of, mask_of = cache(lambda file: _name_of(studio, file, root)), cache(_mask)
            return [_painting(job, name_of, mask_of) for job in jobs]
    except NetLensError as error:  # users must not see the folder of an upload
        hidden = str(error).replace(f"{path.parent}/", "").replace(f"{_folder_of(studio)}/", "")
        raise NetLensError(hidden) from error


def _folder_of(studio: Studio) -> Path:
    return studio.files[0].parent if studio.folder is None else studio.folder


def _read(studio: Studio, file: Path, root: Path) -> Batch:
    mine = (studio.model, studio.weights)
    batch = Batch.read(file, root=root, admit=_admit)
    if batch.networks == [mine]:
        return batch
    with contextlib.suppress(NetLensError):  # all settings have a network, and it is another one
        batch = Batch.read(file, *mine, root=root, admit=_admit)  # for settings without a network
    if batch.networks != [mine]:
        other = next(name for name in batch.networks if name != mine)
        raise NetLensError(
            f"{file.name} is for the network {other[0]} ({other[1]}), and this playground shows {mine[0]} ({mine[1]})."
        )
    return batch


def _admit(count: int, files: Sequence[Path]) -> None:
    """Raise if a batch is too much for the page, before any of its pictures is decoded."""
    if count > MOST_OF_GRID:
        raise NetLensError(
            f"the batch has {count:,} pictures, and the page paints up to {MOST_OF_GRID} in one; divide it, or give it "
            "to netlens stylize --batch."
        )
    if sum(map(pixels_of, files)) > MOST_TOGETHER:
        raise NetLensError(
            f"the pictures of the batch have over {MOST_TOGETHER:,} pixels together; shrink them, or give it to "
            "netlens stylize --batch."
        )


def _painting(
    job: Job, name_of: Callable[[Path], str], mask_of: Callable[[Path | None], Image.Image | None]
) -> Painting:
    standard = StyleTransfer()
    plain = as_settings(job.transfer)
    settings = {name: plain[name] for name in SETTINGS if getattr(job.transfer, name) != getattr(standard, name)}
    if job.transfer.start not in STARTS:
        settings["start"] = name_of(Path(job.transfer.start))
    masks = tuple((mask_of(of_content), mask_of(of_style)) for of_content, of_style in job.masks)
    return Painting(
        content=name_of(job.content),
        styles=tuple(map(name_of, job.styles)),
        settings=settings,
        masks=masks if any(mask is not None for pair in masks for mask in pair) else (),
    )


def _mask(path: Path | None) -> Image.Image | None:
    return None if path is None else read_capped(path).convert("L")


def _name_of(studio: Studio, path: Path, root: Path) -> str:
    """The name under which the playground has the picture of a file; a new picture is kept under a new name."""
    picture = read_capped(path)
    relative = path.relative_to(root).as_posix()
    for name in (relative, relative.removesuffix(".png")):
        try:
            candidate = studio.picture(name)
        except NetLensError:
            continue
        if candidate.size == picture.size and candidate.tobytes() == picture.tobytes():
            return name
    return studio.keep_picture(picture, path.stem)


def _named(runs: Sequence[Run]) -> list[str]:
    """The names of all settings of some runs."""
    return list(dict.fromkeys(name for run in runs for name in run.painting.settings))


def sheet_of(studio: Studio, runs: Sequence[Run]) -> Sheet:
    """The contact sheet of some runs: a row for each pair of pictures, a column for each of the settings.

    Raises:
        NetLensError: There are no runs, or their pictures are no longer here.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outcomes: list[Outcome] = []
        files: dict[str, Path] = {}
        titles: set[tuple[str, str]] = set()
        # settings that all runs have in common are left out of the titles
        every = [{repr(run.painting.settings.get(name)) for run in runs} for name in _named(runs)]
        common = [name for name, values in zip(_named(runs), every, strict=True) if len(values) == 1 < len(runs)]
        for run in runs:
            one = run.painting
            pair = _pair_name(one)
            left_out = [*common, "steps"] if run.short else common
            settings = {name: value for name, value in one.settings.items() if name not in left_out}
            # the steps that were made, not those that were asked for
            title = ", ".join(filter(None, [run.short, label(settings) if settings or not run.short else ""]))
            title += f", run {run.number}" if (pair, title) in titles else ""  # it was painted twice
            titles.add((pair, title))
            for picture in (one.content, *one.styles):
                if picture not in files:
                    files[picture] = images.save(studio.picture(picture), folder / f"{len(files)}.png")
            run_folder = folder / f"run {len(outcomes)}"
            run_folder.mkdir()
            styles = tuple(files[style] for style in one.styles)
            job = Job(
                *(pair, title, files[one.content], styles, ((None, None),) * len(styles)),
                *(one.transfer(), studio.model, studio.weights),
            )
            outcome = Outcome(job, run_folder, "made", run.losses)
            images.save(run.picture, outcome.result)
            outcomes.append(outcome)
        data = contact_sheet(outcomes, folder / "contact.jpg", side=192).read_bytes()
    return Sheet(images.load(data), data)
