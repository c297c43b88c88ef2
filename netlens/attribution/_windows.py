"""The objective of a sample with one changed window. Only the values that the window can change are computed again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from netlens.attribution._backward import evaluated
from netlens.attribution._copies import digests
from netlens.attribution._suffix import Suffix
from netlens.fast.regions import Incremental, Patch, Work
from netlens.flat.keys import OUTPUT
from netlens.flat.running import tapped_visit
from netlens.objectives import Record


@dataclass
class Windows:
    """Variants of the samples of a suffix. Each variant differs from its sample in one window of the maps (n, C, H, W).

    The object keeps the values that the variants of the last sample share, so callers process one sample after the
    other. While hooks are registered, every variant is a full run.
    """

    suffix: Suffix
    _work: dict[int, Work] = field(default_factory=dict)
    _sample: int | None = None
    _run: Incremental | None = None

    @classmethod
    def of(cls, suffix: Suffix) -> Windows | None:
        """The variants of a suffix. None if its activation does not have the two dimensions of windows."""
        value = suffix.feeds[suffix.wrt]
        return cls(suffix) if value.ndim == 4 and len(value) == suffix.n else None

    def unchanged(self, sample: int) -> Tensor:
        """(): the objective of the sample without a change."""
        if tapped_visit(self.suffix.flat) is not None:
            return self.suffix.value([sample], self.suffix.activation[[sample]])[0]
        return evaluated(self.suffix.objective.take([sample]), self._record(self._of(sample).result), 1)[0]

    def value(self, sample: int, windows: Sequence[tuple[slice, slice]], new: Tensor) -> Tensor:
        """(rows,): the objective of the sample with `new` (rows, C, h, w) in these windows, which have one size."""
        if tapped_visit(self.suffix.flat) is not None:
            return self._full_runs(sample, windows, new)
        rows, copies = [sample] * len(windows), self.suffix.copies
        if copies is None:
            return evaluated(self.suffix.objective.take(rows), self._run_with(sample, windows, new), len(rows))
        variants = [digest + repr(window).encode() for digest, window in zip(digests(new), windows, strict=True)]
        run = lambda chosen: self._run_with(sample, [windows[row] for row in chosen], new[chosen])  # noqa: E731
        return copies.value(rows, variants, run)

    @property
    def diagnostics(self) -> dict[str, Tensor]:
        """The multiply-accumulates of convolutions and linear layers: `macs` (n,) computed and `macs_saved` (n,).

        Full runs of all variants would take the sum of both. Empty if every variant was a full run.
        """
        if not self._work:
            return {}
        work = [self._work.get(sample, Work()) for sample in range(self.suffix.n)]
        computed, full = torch.tensor([[count.incremental, count.full] for count in work], dtype=torch.float64).T
        full = full if self.suffix.copies is None else full[0].expand(len(full))
        return {"macs": computed, "macs_saved": full - computed}

    def _of(self, sample: int) -> Incremental:
        sample = sample if self.suffix.copies is None else 0
        if self._run is None or self._sample != sample:
            flat, runner, feeds = self.suffix.flat, self.suffix.runner, self.suffix.one(sample)
            keys = flat.keys_of(self.suffix.objective.layers)
            fetches = [key for key in keys if key != OUTPUT or flat.layers.has(key)]
            fetches += runner.program.outputs if len(fetches) < len(keys) else ()
            self._sample, self._run = sample, Incremental(runner.program, feeds, self.suffix.wrt, fetches)
            self._work[sample] = self._work.get(sample, Work()) + self._run.work
        return self._run

    def _run_with(self, sample: int, windows: Sequence[tuple[slice, slice]], new: Tensor) -> Record:
        run = self._of(sample)
        assert self._sample is not None
        work_before = run.work
        corners = (tuple(rows.start for rows, _ in windows), tuple(columns.start for _, columns in windows))
        values = run.run(Patch(new, *corners))
        self._work[self._sample] += run.work - work_before
        return self._record(values)

    def _record(self, values: dict[str, Tensor]) -> Record:
        flat = self.suffix.flat
        if OUTPUT not in values and set(flat.program.outputs) <= values.keys():
            values = {**values, OUTPUT: flat.program.assemble(values)}
        return Record(flat, values)

    def _full_runs(self, sample: int, windows: Sequence[tuple[slice, slice]], new: Tensor) -> Tensor:
        variants = self.suffix.activation[[sample] * len(windows)]
        for row, (y, x) in enumerate(windows):
            variants[row, :, y, x] = new[row]
        return self.suffix.value([sample] * len(windows), variants)
