"""Tars of samples, as WebDataset writes them. Their members are read in place; nothing is unpacked to disk."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from netlens.classes import ClassNames
from netlens.errors import ImageError, NetLensError
from netlens.images import SUFFIXES
from netlens.survey._labels import indices_of
from netlens.survey._samples import MOST_BYTES, Data, Sample, state_of

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}
_MOST_LABEL = 2**20
"""The largest member, in bytes, in which a label is looked for."""


class Member(NamedTuple):
    """A picture within a tar.

    Attributes:
        tar: The number of the tar.
        name: The path of the member; the key of the sample if it has no picture.
        offset: Where its bytes start.
        size: The number of its bytes; -1 if there is no picture.
    """

    tar: int
    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Tars(Data):
    """The samples of tars. A sample is known by its tar's name, size and time of change, and by its place in it.

    Args:
        paths: The tars.
        members: The picture of each sample.
        labels: The class of each sample.
    """

    paths: tuple[Path, ...]
    members: tuple[Member, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.members)

    def name(self, index: int) -> str:
        member = self.members[index]
        return f"{self.paths[member.tar].name}/{member.name}"

    def load(self, index: int) -> Sample:
        member = self.members[index]
        path = self.paths[member.tar]
        if member.size < 0:
            raise ImageError(f"the sample has no picture ({', '.join(SUFFIXES)}), only other members.")
        if member.size > MOST_BYTES:
            raise ImageError(f"it has {member.size:,} bytes, over the limit of {MOST_BYTES:,}; shrink the picture.")
        try:
            with path.open("rb") as file:
                file.seek(member.offset)
                octets = file.read(member.size)
        except OSError as error:
            raise ImageError(f"{path} cannot be read ({error.strerror}); check the path.") from error
        return Sample(octets, self.labels[index])

    def identity(self, start: int, stop: int) -> Any:
        chosen = self.members[start:stop]
        states = {tar: (self.paths[tar].name, *state_of(self.paths[tar])) for tar in {member.tar for member in chosen}}
        return [(*states[m.tar], *m[1:], label) for m, label in zip(chosen, self.labels[start:stop], strict=True)]


@dataclass
class _Sample:
    """What the members of one key say of a sample. They follow each other in the tar."""

    key: str
    picture: Member | None = None
    labels: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> Any:
        return self.labels.get("cls", self.labels.get("json"))


def of_tars(paths: Sequence[Path], classes: ClassNames | None) -> Tars:
    """The samples of tars, in the order of the tars and of their members.

    The name of a member up to the first dot is the key of its sample, and the rest says what it is: a picture by its
    suffix, a label in `.cls` or under "label" or "cls" in `.json`. Of several pictures, the first counts.

    Raises:
        NetLensError: A file is no tar, is compressed, or breaks off, or a label is no class of the network.
    """
    samples = [sample for number, path in enumerate(paths) for sample in _samples(number, path)]
    members = [Member(-1, "", 0, -1) if one.picture is None else one.picture for one in samples]
    return Tars(tuple(paths), tuple(members), indices_of([one.label for one in samples], classes))


def _samples(number: int, path: Path) -> Iterator[_Sample]:
    """The samples of a tar that have a picture or a label."""
    try:
        with path.open("rb") as file:
            packed = _COMPRESSED.get(file.read(2))
            if packed is not None:
                raise NetLensError(
                    f"{path} is compressed by {packed}, so that no sample can be read before the others; unpack it to "
                    "a plain .tar first. Pictures are compressed by themselves."
                )
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                current: _Sample | None = None
                while (member := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # a large tar would fill the memory
                    key, kind = _named(member.name)
                    if not member.isreg() or member.issparse() or not kind:
                        continue
                    if current is not None and current.key != key:
                        yield from _whole(current, number)
                        current = None
                    current = _Sample(key) if current is None else current
                    _take(current, member, kind, number, file)
                if current is not None:
                    yield from _whole(current, number)
                file.seek(tar.offset)
                if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile takes any garbage for an end
                    raise EOFError("it has no end")
    except (tarfile.TarError, EOFError) as error:
        raise NetLensError(f"{path} is no whole tar ({_line(error)}); download or make it again.") from error
    except OSError as error:
        raise NetLensError(f"{path} cannot be read ({error.strerror}); check the path.") from error


def _whole(sample: _Sample, number: int) -> Iterator[_Sample]:
    """The sample, unless it has neither a picture nor a label, as a README has not."""
    if sample.picture is None and sample.labels:
        sample.picture = Member(number, sample.key, 0, -1)
    if sample.picture is not None:
        yield sample


def _take(sample: _Sample, member: tarfile.TarInfo, kind: str, number: int, file: IO[bytes]) -> None:
    """Note what a member says of its sample."""
    suffix = kind.rpartition(".")[2]
    if f".{suffix}" in SUFFIXES:
        if sample.picture is None:
            sample.picture = Member(number, member.name, member.offset_data, member.size)
    elif kind in ("cls", "json") and member.size <= _MOST_LABEL:
        place = file.tell()
        file.seek(member.offset_data)
        text = file.read(member.size)
        file.seek(place)
        label = _label(text, kind)
        if label is not None:
            sample.labels[kind] = label


def _named(name: str) -> tuple[str, str]:
    """The key of a member and its kind, as WebDataset does: it splits the last part of the path at the first dot."""
    folder, slash, last = name.rpartition("/")
    key, _, kind = last.partition(".")
    return folder + slash + key, kind.lower() if key else ""


def _label(octets: bytes, kind: str) -> Any:
    """The label in a member: a number or a text; None if there is none."""
    try:
        text = octets.decode().strip()
        if kind == "cls":
            return text or None
        label = json.loads(text)
    except (ValueError, RecursionError):  # no UTF-8 or no JSON: other tools write what they like there
        return None
    if isinstance(label, dict):
        label = label.get("label", label.get("cls"))
    return label if isinstance(label, int | str) and not isinstance(label, bool) else None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]
