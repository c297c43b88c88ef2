"""`python -m benchmarks.report`: the cost of `netlens survey` and `netlens report`, and the picture of a report.

Both run on scenes of the little world, as a person would run them. Times are processor time of their processes, on one
thread. The picture shows the pages in a browser; it needs chromium and playwright.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.tables import write_between
from netlens.world.folder import write_world

PAGE = Path("docs/survey.md")
OUT = Path("images/survey/report.jpg")
SIZE = {"width": 1060, "height": 1180}
VIEWS = (("index.html", "#losses"), ("layer-3.html", ""))


def seconds(*arguments: str) -> float:
    """The processor time of a command of netlens."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "netlens.cli", *arguments], check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def photographed(root: Path) -> Image.Image:
    """Two views of a report, side by side."""
    from playwright.sync_api import sync_playwright

    views = []
    with sync_playwright() as driver:
        browser: Any = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, anchor in VIEWS:
            tab = browser.new_page(viewport=SIZE)
            tab.goto((root / name).as_uri() + anchor)
            tab.wait_for_load_state("networkidle")
            tab.wait_for_timeout(500)
            views.append(Image.open(io.BytesIO(tab.screenshot())).convert("RGB"))
        browser.close()
    both = Image.new("RGB", (sum(view.width for view in views) + 24, views[0].height), "#dcdce2")
    both.paste(views[0], (0, 0))
    both.paste(views[1], (views[0].width + 24, 0))
    return both.resize((1400, round(both.height * 1400 / both.width)), Image.Resampling.LANCZOS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        world = write_world(Path(temporary) / "world", arguments.images)
        out = Path(temporary) / "survey"
        survey = seconds("survey", str(world / "images"), "-o", str(out))
        report = seconds("report", str(out))
        files = [path for path in (out / "report").rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        rows = ["| command | seconds | writes |", "|---|--:|---|"]
        parts = sum(path.stat().st_size for path in (out / "parts").iterdir())
        rows.append(f"| `netlens survey` | {survey:.0f} | {parts / 1e6:.0f} MB of parts |")
        rows.append(f"| `netlens report` | {report:.0f} | {len(files):,} files, {size / 1e6:.0f} MB |")
        write_between(PAGE, "commands", "\n".join(rows))
        OUT.parent.mkdir(exist_ok=True)
        photographed(out / "report").save(OUT, quality=78)
        print(OUT, OUT.stat().st_size)


if __name__ == "__main__":
    main()
