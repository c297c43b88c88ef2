"""`make screenshots WEIGHTS=file PHOTOS=folder`: the pictures of the playground in the README, from a real browser.

It needs chromium and playwright. The page shows mobilenet_v2 and a folder with `egyptian_cat.jpg` and `macaw.jpg`.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image

PAGES = {  # name: link, a button to press where a link starts nothing, and what the page shows when it is complete
    "explain": (
        "?tab=explain&picture=egyptian_cat.jpg"
        "&methods=grad_cam~layer_cam~guided_backprop~smooth_gradient~integrated_gradients~occlusion",
        "",
        "document.querySelectorAll('#maps figure img').length == 6",
    ),
    "look": (
        "?tab=look&picture=macaw.jpg&see=features.6.conv.2@0.62,0.20",
        "",
        "document.querySelectorAll('#look-page figure img').length == 3",
    ),
    "dream": (
        "?tab=dream&what=dream&picture=egyptian_cat.jpg&layer=features.14.conv.2",
        "",
        "document.querySelector('#dream-sheet .nl-plain')",
    ),
    "style": (
        "?tab=style&picture=sunflower.jpg&styles=brushwork&options=style.steps%3D150%26style.size%3D384",
        "#style-run",
        "document.querySelector('#style-one .nl-easel')",
    ),
}
SIZE = {"width": 1360, "height": 1000}
OUT = Path("images/playground")


def photographed(browser: Any, address: str, link: str, button: str, complete: str) -> Image.Image:
    """The page behind a link, when it is complete."""
    page = browser.new_page(viewport=SIZE)
    page.goto(address + link)
    if button:
        page.wait_for_selector(f"[id={link.partition('tab=')[2].partition('&')[0]}-chosen] img")
        page.click(button)
    page.wait_for_function(complete, timeout=600_000)
    page.wait_for_timeout(3000)  # until the sign of work is gone
    return Image.open(io.BytesIO(page.screenshot()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("weights", "photos"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    serve = [sys.executable, "-u", "-m", "netlens.cli", "playground", "--no-browser", "--port", "7999"]
    serve += ["--model", "mobilenet_v2", "--weights", options.weights, "--images", options.photos]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as driver:
        assert server.stdout is not None
        address = next(word for line in server.stdout for word in line.split() if word.startswith("http"))
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (link, button, complete) in PAGES.items():
            picture = photographed(browser, address, link, button, complete).convert("RGB")
            picture.save(OUT / f"{name}.jpg", quality=88)
            print(OUT / f"{name}.jpg")
        browser.close()
        server.terminate()


if __name__ == "__main__":
    main()
