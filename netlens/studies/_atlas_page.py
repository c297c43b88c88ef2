"""The page of an atlas: one file that a browser shows without asking for anything else, and that one can zoom."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from html import escape
from typing import Any

from PIL import Image
from torch import Tensor

_ACROSS = 32
"""The number of pictures in a row of the one image that holds all pictures of a sheet."""


def page_of(title: str, note: str, side: int, sheets: Sequence[dict[str, Any]], pictures: Sequence[Tensor]) -> str:
    """The page.

    Args:
        title: Its heading.
        note: The line below.
        side: The number of cells along each side.
        sheets: For each sheet its title, the cells (row and column), counts, captions and the size of a picture.
        pictures: For each sheet its pictures (k, 3, s, s) of uint8.
    """
    content = {
        "side": side,
        "across": _ACROSS,
        "sheets": [{**sheet, "image": _sprites(of)} for sheet, of in zip(sheets, pictures, strict=True)],
    }
    # names of classes are anybody's text, and "</script>" in one of them would end the script
    script = json.dumps(content).replace("<", "\\u003c")
    texts = {"TITLE": escape(title), "NOTE": escape(note), "CONTENT": script}
    # in one go, because a title may hold "{NOTE}"
    return re.sub(r"\{(TITLE|NOTE|CONTENT)\}", lambda match: texts[match[1]], _PAGE)


def _sprites(pictures: Tensor) -> str:
    """All pictures in one image, as a data URL."""
    size = pictures.shape[-1]
    rows = max(1, -(-len(pictures) // _ACROSS))
    image = Image.new("RGB", (_ACROSS * size, rows * size), "white")
    for index, one in enumerate(pictures):
        place = (index % _ACROSS * size, index // _ACROSS * size)
        image.paste(Image.fromarray(one.permute(1, 2, 0).contiguous().numpy()), place)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{TITLE}</title>
<style>
html, body { height: 100%; margin: 0; }
body { display: flex; flex-direction: column; font: 16px/1.4 system-ui, sans-serif; color: #1a1a1a; background: #fff; }
header { padding: 12px 16px 8px; display: flex; flex-wrap: wrap; gap: 4px 24px; align-items: baseline; }
h1 { font-size: 18px; margin: 0; }
p { margin: 0; color: #595959; }
#tools { padding: 0 16px 8px; display: flex; flex-wrap: wrap; gap: 8px; align-items: center; }
button, select { font: inherit; padding: 2px 10px; min-height: 32px; }
#view { flex: 1; min-height: 0; margin: 0 16px; border: 1px solid #b0b0b0; position: relative; }
canvas { display: block; width: 100%; height: 100%; cursor: grab; touch-action: none; }
canvas:focus-visible { outline: 3px solid #2b5fb8; }
#cell { padding: 6px 16px 10px; min-height: 1.4em; }
</style>
</head>
<body>
<header><h1>{TITLE}</h1><p>{NOTE}</p></header>
<div id="tools">
<label id="choice">Show <select id="sheet"></select></label>
<button id="in" aria-label="Zoom in">+</button>
<button id="out" aria-label="Zoom out">−</button>
<button id="whole">All</button>
<p>Wheel or + and −: zoom. Drag or arrows: move. 0: all.</p>
</div>
<div id="view"><canvas id="map" tabindex="0" role="img" aria-label="{TITLE}. {NOTE}"></canvas></div>
<div id="cell" aria-live="polite"></div>
<script id="content" type="application/json">{CONTENT}</script>
<script>
"use strict";
const content = JSON.parse(document.getElementById("content").textContent);
const canvas = document.getElementById("map"), brush = canvas.getContext("2d");
const choice = document.getElementById("sheet"), cell = document.getElementById("cell");
const images = content.sheets.map(sheet => { const image = new Image(); image.src = sheet.image; return image; });
let shown = 0, view = {x: 0, y: 0, scale: 1}, held = null, marked = -1;

content.sheets.forEach((sheet, index) => choice.add(new Option(sheet.title, index)));
document.getElementById("choice").hidden = content.sheets.length < 2;

function width() { return canvas.clientWidth; }
function height() { return canvas.clientHeight; }
function whole() {
  const scale = Math.min(width(), height()) / content.side;
  return {scale, x: (width() - scale * content.side) / 2, y: (height() - scale * content.side) / 2};
}
function draw() {
  const dense = window.devicePixelRatio || 1;
  const across = Math.round(width() * dense), down = Math.round(height() * dense);
  if (canvas.width !== across || canvas.height !== down) { canvas.width = across; canvas.height = down; }
  brush.setTransform(dense, 0, 0, dense, 0, 0);
  brush.clearRect(0, 0, width(), height());
  const sheet = content.sheets[shown], image = images[shown], size = sheet.size;
  if (!image.complete) return;
  sheet.cells.forEach(([row, column], i) => {
    const x = view.x + column * view.scale, y = view.y + row * view.scale;
    if (x > width() || y > height() || x + view.scale < 0 || y + view.scale < 0) return;
    brush.drawImage(image, i % content.across * size, Math.floor(i / content.across) * size, size, size,
      x, y, view.scale, view.scale);
    if (i === marked) {
      brush.lineWidth = 3; brush.strokeStyle = "#000"; brush.strokeRect(x, y, view.scale, view.scale);
      brush.lineWidth = 1; brush.strokeStyle = "#fff"; brush.strokeRect(x, y, view.scale, view.scale);
    }
  });
}
function zoom(factor, x = width() / 2, y = height() / 2) {
  const least = whole().scale / 2, most = Math.max(512, least);
  const scale = Math.min(most, Math.max(least, view.scale * factor));
  const share = scale / view.scale;
  view = {scale, x: x - (x - view.x) * share, y: y - (y - view.y) * share};
  draw();
}
function move(x, y) { view = {...view, x: view.x + x, y: view.y + y}; draw(); }
function reset() { view = whole(); draw(); }
function mark(x, y) {
  const row = Math.floor((y - view.y) / view.scale), column = Math.floor((x - view.x) / view.scale);
  const sheet = content.sheets[shown];
  marked = sheet.cells.findIndex(place => place[0] === row && place[1] === column);
  const caption = marked < 0 ? "" : sheet.captions[marked];
  cell.textContent = marked < 0 ? "" : `${sheet.count[marked]} pictures${caption ? ": " + caption : ""}`;
  draw();
}
canvas.addEventListener("wheel", event => {
  event.preventDefault();
  zoom(Math.exp(-Math.max(-100, Math.min(100, event.deltaY)) / 300), event.offsetX, event.offsetY);
}, {passive: false});
canvas.addEventListener("pointerdown", event => {
  held = {x: event.clientX, y: event.clientY};
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", event => {
  if (held) {
    move(event.clientX - held.x, event.clientY - held.y);
    held = {x: event.clientX, y: event.clientY};
  } else mark(event.offsetX, event.offsetY);
});
canvas.addEventListener("pointerup", () => { held = null; });
canvas.addEventListener("pointercancel", () => { held = null; });
window.addEventListener("keydown", event => {
  if (event.target.tagName === "SELECT") return;  // there, arrows choose
  const step = 60, keys = {
    "+": () => zoom(1.3), "=": () => zoom(1.3), "-": () => zoom(1 / 1.3), "0": reset,
    ArrowLeft: () => move(step, 0), ArrowRight: () => move(-step, 0),
    ArrowUp: () => move(0, step), ArrowDown: () => move(0, -step),
  };
  if (keys[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    keys[event.key]();
    mark(width() / 2, height() / 2);
  }
});
document.getElementById("in").onclick = () => zoom(1.3);
document.getElementById("out").onclick = () => zoom(1 / 1.3);
document.getElementById("whole").onclick = reset;
choice.onchange = () => { shown = Number(choice.value); marked = -1; cell.textContent = ""; draw(); };
images.forEach(image => image.addEventListener("load", draw));
window.addEventListener("resize", reset);
reset();
</script>
</body>
</html>
"""
