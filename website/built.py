"""What is wrong with the pages that are made: links to nowhere, and what would be requested from another host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links, the assets and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.assets: list[str] = []
        self.anchors: set[str] = set()
        self.styles = ""
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note what a tag refers to."""
        self._in_style = tag == "style"
        values = {name: value or "" for name, value in attributes}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        self.styles += values.get("style", "")
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") not in ("canonical", "author", "license"):
            self.assets.append(values.get("href", ""))
        elif tag != "a":
            self.assets += [values[name] for name in ("src", "data", "poster", "href") if values.get(name)]
            self.assets += [part.split()[0] for part in values.get("srcset", "").split(",") if part.strip()]

    def handle_endtag(self, tag: str) -> None:
        """Leave a style."""
        self._in_style = False

    def handle_data(self, data: str) -> None:
        """Note the rules of a style."""
        if self._in_style:
            self.styles += data


def faults(folder: Path) -> list[str]:
    """A line for each fault of the pages and style sheets of a folder."""
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    lines = [
        f"{path.relative_to(folder.resolve())}: {fault}"
        for path, page in pages.items()
        for fault in _of_page(path, page, pages)
    ]
    for path in sorted(folder.rglob("*.css")):
        lines += [f"{path.relative_to(folder)}: {fault}" for fault in _of_style(path, path.read_text(encoding="utf-8"))]
    return lines


def _of_page(path: Path, page: Page, pages: dict[Path, Page]) -> Iterator[str]:
    for asset in page.assets:
        if is_elsewhere(asset):
            yield f"requests {asset}"
        elif not asset.startswith(("data:", "#")) and not _target(path, asset).exists():
            yield f"has no file {asset}"
    yield from _of_style(path, page.styles)
    for link in dict.fromkeys(page.links):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = _target(path, link) if parts.path else path
        if not target.exists():
            yield f"links to {link}, which is not there"
        elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
            yield f"links to {link}, whose anchor is not there"


def _of_style(path: Path, style: str) -> Iterator[str]:
    for url in re.findall(
        r"(?:url\(|@import\s+)\s*[\"']?([^\"')\s]+)", re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL)
    ):
        if is_elsewhere(url):
            yield f"requests {url}"
        elif not url.startswith(("data:", "#")) and not _target(path, url).exists():
            yield f"has no file {url}"


def is_elsewhere(url: str) -> bool:
    """Whether a browser would ask another host for it."""
    return bool(re.match(r"(https?:|wss?:|ftp:)?//", url.strip(), flags=re.IGNORECASE))


def _target(path: Path, url: str) -> Path:
    return (path.parent / unquote(urlsplit(url).path)).resolve()
