"""Tables of rows for the docs and the README."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from benchmarks.matrix._measure import COMPLETE
from benchmarks.matrix._row import Answer, Row, shown

NAMES = {"grad_cam": "Grad-CAM", "place": "place", "deep_lift": "DeepLIFT", "lrp": "LRP"}


def plain(rows: Sequence[Row]) -> str:
    """One line per network: what the flat model is. Reasons are below the table."""
    lines = ["| network | layers | opaque | output | seconds to flatten |", "|---|---|---|---|---|"]
    for row in rows:
        cells = ("", "", row.verdict, "")
        if not (row.refusal or row.unbuilt):
            cells = (str(row.layers), str(len(row.opaque)), row.verdict, f"{row.seconds:.2f}")
        lines.append(f"| {row.network} | {' | '.join(cells)} |")
    reasons = list(_reasons(rows))
    return "\n".join([*lines, "", *reasons] if reasons else lines)


def with_methods(rows: Sequence[Row]) -> str:
    """One line per network: what the flat model is, and what methods find in it. Reasons are below the table."""
    lines = [
        "| network | of | layers | opaque | output | Grad-CAM | place | patch | DeepLIFT | LRP | seconds to flatten |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(row) for row in rows]
    return "\n".join([*lines, "", *_reasons(rows)])


def _line(row: Row) -> str:
    if row.refusal or row.unbuilt:
        return f"| {row.network} | {row.family} | | | {row.verdict} | | | | | | |"
    place = row.found.get("place")
    right = "" if place is None or place.value is None else "right" if place.value == 1 else f"**wrong**, {place.text}"
    cam = row.found.get("grad_cam")
    patch = "" if cam is None or cam.value is None else "found" if cam.value == 1 else "**missed**"
    deep_lift, lrp = (shown(row.found.get(method)) for method in ("deep_lift", "lrp"))
    right = "**error**" if place is not None and place.error else right
    cells = (row.layers, len(row.opaque), row.verdict, shown(cam), right, patch, deep_lift, lrp)
    return f"| {row.network} | {row.family} | {' | '.join(map(str, cells))} | {row.seconds:.2f} |"


def _reasons(rows: Sequence[Row]) -> Iterable[str]:
    """Each reason once, with the networks that have it."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        entries = [("not built", row.unbuilt), ("refused", row.refusal)]
        entries += [("opaque", f"{reason}") for reason in dict.fromkeys(row.opaque.values())]
        for method, answer in row.found.items():
            if method == "place" and answer.refusal:  # for the same reason as Grad-CAM
                continue
            entries += [(NAMES[method], answer.refusal), (f"{NAMES[method]}, error", answer.error)]
        for what, reason in entries:
            if reason:  # without the folder where this machine keeps its libraries, and without the name of one network
                reason = re.sub(r"[^\s(]*/site-packages/", "", reason).replace(row.network, "the network")
                reason = reason.replace(row.network.lower(), "the network")
                reasons.setdefault((what, reason), []).append(row.network)
    return [f"- {what}, {', '.join(networks)}: {reason}" for (what, reason), networks in reasons.items()]


SUMMARY = (
    "| collection | networks | flat | without opaque part | equal | up to rounding | differs | place right | "
    "patch found | no place | DeepLIFT complete | LRP |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def summary(title: str, rows: Sequence[Row]) -> str:
    """One line for a whole collection."""
    built = [row for row in rows if not row.unbuilt]
    flat = [row for row in built if row.difference is not None]
    equal, right = (sum(row.difference == 0 for row in flat), sum(row.passed for row in flat))
    counts = (len(built), len(flat), sum(not row.opaque for row in flat), equal, right - equal, len(flat) - right)
    cams, places, deep_lift, lrp = ([row.found[method] for row in flat if method in row.found] for method in NAMES)
    cells = [
        *map(str, counts),
        _share(places, lambda value: value == 1),
        _share(cams, lambda value: value == 1),
        str(sum(bool(cam.refusal) for cam in cams)) if cams else "",
        _share(deep_lift, lambda value: value <= COMPLETE),
        _share(lrp, lambda value: True),
    ]
    return f"| {title} | {' | '.join(cells)} |"


def _share(answers: Sequence[Answer], right: Callable[[float], bool]) -> str:
    """How many of the networks to which a method applies it is right on, and on how many it warns instead."""
    applied = [each for each in answers if not each.refusal]
    good = sum(each.value is not None and right(each.value) for each in applied)
    warned = sum(each.value is not None and not right(each.value) and bool(each.warning) for each in applied)
    return f"{good} of {len(applied)}{f', {warned} warned' if warned else ''}" if applied else ""
