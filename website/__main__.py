"""Writes the site: `python -m website [FOLDER]`, by default into out/docs. A warning of Sphinx is an error."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from website.built import faults
from website.sources import ROOT, gather

FOLDER = ROOT / "out" / "docs"


def main(folder: Path = FOLDER) -> int:
    """Write the site into a folder, and beside it what Sphinx reads; 0 if all is well.

    Nothing is left of an earlier site: Sphinx warns only of the pages that it reads.
    """
    from sphinx.cmd.build import build_main

    work = folder.with_name(f"{folder.name}-work")
    if (folder / ".buildinfo").exists():  # a folder that holds something else stays
        shutil.rmtree(folder)
    shutil.rmtree(work, ignore_errors=True)
    gather(work / "source")
    code = build_main(
        [
            *("-W", "--keep-going", "-q", "-b", "html"),
            *("-c", str(Path(__file__).parent)),
            *("-d", str(work / "doctrees")),
            *(str(work / "source"), str(folder)),
        ]
    )
    # tables that are written in HTML show these; Sphinx copies those pictures only that Markdown shows
    shutil.copytree(ROOT / "images", folder / "images", dirs_exist_ok=True)
    lines = faults(folder)
    sys.stderr.writelines(f"{line}\n" for line in lines)
    if code or lines:
        return 1
    sys.stdout.write(f"The docs are in {folder}; open {folder / 'index.html'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
