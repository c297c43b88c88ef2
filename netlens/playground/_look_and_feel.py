"""Look and feel: colors, letters and spaces of the page, in light and dark. All fonts are those of the system."""

from __future__ import annotations

from typing import Any

import gradio as gr

_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace"]


def theme() -> Any:
    """The theme: gray, with one accent color."""
    return gr.themes.Base(
        primary_hue="indigo",
        secondary_hue="indigo",
        neutral_hue="zinc",
        font=_FONTS,
        font_mono=_MONO,
        radius_size="md",
        spacing_size="md",
        text_size="md",
    ).set(
        # Gradio's own gray is too pale to read
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_300",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        input_background_fill="white",
        input_background_fill_dark="*neutral_900",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        input_border_width="1px",
        button_large_text_weight="500",
        button_large_text_size="*text_md",
        button_large_padding="8px 18px",
        checkbox_label_background_fill="*neutral_100",
        checkbox_label_background_fill_dark="*neutral_800",
    )


HEAD = '<meta name="color-scheme" content="light dark">'

CSS = """
.gradio-container { max-width: 1500px !important; width: 100% !important; margin: 0 auto !important;
  padding: 8px min(20px, 1vw) 24px !important; }
.fillable { padding: 12px min(32px, 2vw) !important; }
.nl-head { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 16px; padding: 4px 2px 0; }
.nl-head h1 { font-size: 22px; font-weight: 650; margin: 0; letter-spacing: -0.01em; }
.nl-head h1 span { font-weight: 400; color: var(--body-text-color-subdued); }
.nl-head p { margin: 0; color: var(--body-text-color-subdued); font-size: 14px; }
.nl-hint { color: var(--body-text-color-subdued); font-size: 14px; line-height: 1.5; margin: 4px 2px; }

.nl-grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(240px, 100%), 1fr)); gap: 16px; }
.nl-grid.nl-small { grid-template-columns: repeat(auto-fill, minmax(116px, 1fr)); gap: 12px; }
.nl-figure { margin: 0; border: 1px solid var(--border-color-primary); border-radius: 8px; overflow: hidden;
  background: var(--block-background-fill); display: flex; flex-direction: column; }
.nl-figure > a { display: block; line-height: 0; margin: 0 !important; padding: 0 !important; }
.nl-figure img { display: block; width: 100%; height: auto; margin: 0; }
.nl-figure figcaption { padding: 8px 10px 9px; font-size: 14px; line-height: 1.35; display: flex; flex-wrap: wrap;
  gap: 2px 8px; align-items: baseline; overflow-wrap: anywhere; }
.nl-figure figcaption b { font-weight: 600; color: var(--body-text-color); }
.nl-note { color: var(--body-text-color-subdued); font-size: 13px; }
.nl-saves { margin-left: auto; font-size: 13px; display: flex; gap: 10px; }
.nl-saves a, .nl-plain a { color: var(--link-text-color); text-decoration: underline; text-underline-offset: 2px; }
.nl-small figcaption { padding: 5px 7px 6px; font-size: 12.5px; }
.nl-small .nl-note { font-size: 12px; }
.nl-blank { aspect-ratio: 1; background: var(--background-fill-secondary); display: flex; align-items: center;
  justify-content: center; padding: 16px; }
.nl-blank p { margin: 0; font-size: 13.5px; line-height: 1.45; color: var(--body-text-color-subdued);
  overflow-wrap: anywhere; overflow: auto; max-height: 100%; }
@media (prefers-reduced-motion: no-preference) {
  .nl-waiting .nl-blank { animation: nl-breathe 1.6s ease-in-out infinite; }
  @keyframes nl-breathe { 50% { opacity: 0.55; } }
}

.nl-photo { display: grid; grid-template-columns: 112px minmax(0, 1fr); gap: 14px; align-items: center; }
.nl-photo img { width: 100%; height: auto; max-height: 200px; object-fit: contain; border-radius: 6px; margin: 0; }

.nl-bars { list-style: none !important; margin: 0 !important; padding: 0 !important; display: grid; gap: 1px;
  font-size: 14px; }
.nl-bars li { margin: 0 !important; padding: 0 !important; list-style: none !important; }
.nl-bars li > * { display: grid; grid-template-columns: minmax(0, 5fr) minmax(24px, 3fr) 58px; gap: 8px;
  align-items: center; padding: 4px 6px; border-radius: 6px; color: var(--body-text-color); text-decoration: none; }
.nl-bars a:hover { background: var(--background-fill-secondary); }
.nl-name { text-align: left; overflow-wrap: anywhere; line-height: 1.3; }
.nl-bar { position: relative; height: 8px; border-radius: 4px; background: var(--border-color-primary);
  overflow: hidden; }
.nl-bar i { position: absolute; top: 0; bottom: 0; min-width: 1px; }
.nl-high { background: var(--color-accent); }
.nl-low { background: #d97706; }
.nl-number { text-align: right; font-variant-numeric: tabular-nums; color: var(--body-text-color-subdued);
  font-size: 13px; }

.nl-search { display: block; font-size: 14px; margin: 0 0 8px; }
.nl-search span { display: block; margin-bottom: 4px; color: var(--block-title-text-color); }
.nl-search input { width: 100%; padding: 8px 10px; border: 1px solid var(--input-border-color); border-radius: 6px;
  background: var(--input-background-fill); color: var(--body-text-color); font: inherit; }
.nl-search input::placeholder { color: var(--body-text-color-subdued); opacity: 1; }
.nl-layers { position: relative; border: 1px solid var(--border-color-primary); border-radius: 8px; max-height: 460px;
  overflow: auto; font-size: 13px; background: var(--block-background-fill); }
.nl-layers a { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 0 10px; padding: 5px 12px 5px 24px;
  margin: 0; text-decoration: none; color: var(--body-text-color); text-align: left; line-height: 1.35; }
.nl-layers a[hidden], .nl-layers details[hidden] { display: none; }
.nl-layers a b { font-weight: 500; overflow-wrap: anywhere; }
.nl-layers a span { color: var(--body-text-color-subdued); font-size: 12.5px; }
.nl-layers a span:nth-of-type(odd) { text-align: right; }
.nl-trail h2 a, .nl-trail h2 span, .nl-layers a b { margin: 0; padding: 0; }
.nl-layers a:hover { background: var(--background-fill-secondary); }
.nl-layers a[aria-current] { box-shadow: inset 3px 0 0 var(--color-accent);
  background: var(--background-fill-secondary); }
.nl-layers summary { padding: 6px 10px; cursor: pointer; font-weight: 600; font-size: 13px;
  border-top: 1px solid var(--border-color-primary); }
.nl-layers details:first-of-type summary { border-top: 0; }

.nl-spots { position: relative; width: fit-content; max-width: 100%; margin: 0 auto; cursor: crosshair;
  border-radius: 8px; overflow: hidden; }
.nl-spots img { display: block; max-width: 240px; max-height: 300px; width: auto; height: auto; margin: 0; }
.nl-spots i { position: absolute; width: 18px; height: 18px; margin: -9px 0 0 -9px; border: 2px solid white;
  border-radius: 50%; box-shadow: 0 0 0 1.5px black, inset 0 0 0 1.5px black; pointer-events: none; }
.nl-spots i[hidden] { display: none; }

.nl-trail h2 { font-size: 18px; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
.nl-trail h2 a { color: inherit; text-decoration: none; }
.nl-trail h2 span { font-weight: 400; color: var(--body-text-color-subdued); }
.nl-trail h2 span::before { content: "›"; margin-right: 6px; }
.nl-trail p { margin: 2px 0 0; }
.nl-here { margin-left: 10px; color: var(--link-text-color); }
.nl-sections { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(340px, 100%), 1fr)); gap: 22px 32px;
  margin-top: 18px; }
.nl-section h3 { font-size: 15px; font-weight: 600; margin: 0; }
.nl-section > .nl-hint { margin: 1px 0 8px; font-size: 13.5px; }

.nl-curve { display: block; width: 100%; height: 56px; margin-top: 10px; border-radius: 6px;
  background: var(--background-fill-secondary); }
.nl-curve polyline { fill: none; stroke: var(--color-accent); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.nl-source { width: 112px; }
.nl-source img { display: block; width: 100%; height: auto; border-radius: 6px; margin: 0; }
.nl-easel { display: grid; grid-template-columns: minmax(0, 512px) minmax(220px, 1fr); gap: 20px; align-items: start; }
.nl-easel > img { height: auto; border-radius: 8px; margin: 0; }
.nl-easel h3 { font-size: 15px; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
.nl-easel p { margin: 4px 0 10px; font-size: 14px; color: var(--body-text-color-subdued); }
.nl-easel details { margin-top: 12px; font-size: 14px; }
.nl-easel summary { cursor: pointer; font-weight: 600; }
.nl-easel table { margin: 6px 0 0; border-collapse: collapse; font-size: 13px; }
.nl-easel th { font-weight: 400; text-align: left; padding: 2px 14px 2px 0; color: var(--body-text-color-subdued); }
.nl-easel td { padding: 2px 0; overflow-wrap: anywhere; }
.nl-halted { display: none !important; }
.nl-progress { height: 6px; border-radius: 3px; background: var(--border-color-primary); overflow: hidden;
  margin: 0 0 12px; }
.nl-progress i { display: block; height: 100%; background: var(--color-accent); }
.nl-easel p.nl-note { margin: 2px 0 0; font-size: 13px; }

.nl-runs { overflow-x: auto; }
.nl-runs table { width: 100%; border-collapse: collapse; font-size: 13.5px; margin: 0; }
.nl-runs :is(table, thead, tbody, tr, th, td), .nl-easel :is(table, tbody, tr, th, td) { border: 0 !important; }
.nl-runs tr { border-bottom: 1px solid var(--border-color-primary) !important; }
.nl-runs th { text-align: left; font-weight: 600; padding: 4px 8px; white-space: nowrap; }
.nl-runs td { padding: 6px 8px; overflow-wrap: anywhere; vertical-align: middle; }
.nl-runs td:nth-child(n+4) { white-space: nowrap; font-variant-numeric: tabular-nums; }
.nl-runs tbody tr { cursor: pointer; }
.nl-runs tbody tr:hover, .nl-runs tr[aria-current] { background: var(--background-fill-secondary); }
.nl-runs tr[aria-current] td:first-child { box-shadow: inset 3px 0 0 var(--color-accent); }
.nl-runs a { display: flex; align-items: center; gap: 8px; color: var(--body-text-color); text-decoration: none;
  min-width: 84px; }
.nl-runs a span { min-width: 18px; text-align: right; font-variant-numeric: tabular-nums; }
.nl-runs img { width: 56px; height: 56px; object-fit: contain; border-radius: 5px; margin: 0; }

.nl-chosen { display: grid; grid-template-columns: repeat(auto-fill, minmax(108px, 1fr)); gap: 10px; }
.nl-chosen figure { margin: 0; }
.nl-chosen img { width: 100%; aspect-ratio: 1; object-fit: contain; border-radius: 6px; margin: 0; display: block;
  background: var(--background-fill-secondary); }
.nl-chosen figcaption { font-size: 12.5px; line-height: 1.35; margin-top: 4px; overflow-wrap: anywhere;
  color: var(--body-text-color-subdued); }
.nl-chosen figcaption b { font-weight: 600; color: var(--body-text-color); }
.nl-dot { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 5px; }
.nl-brush { position: relative; width: fit-content; max-width: 100%; margin: 0 auto; border-radius: 8px;
  overflow: hidden; cursor: crosshair; touch-action: none; }
.nl-brush img { display: block; width: 320px; max-width: 100%; margin: 0; }
.nl-brush canvas { position: absolute; inset: 0; width: 100%; height: 100%; opacity: 0.65; }
.nl-brush i { position: absolute; width: 16px; height: 16px; margin: -8px 0 0 -8px; border: 2px solid white;
  border-radius: 50%; box-shadow: 0 0 0 1.5px black; pointer-events: none; }
.nl-brush i[hidden] { display: none; }
.nl-tools { display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; justify-content: center;
  font-size: 14px; margin-top: 8px; }
.nl-tools label { display: flex; gap: 8px; align-items: center; color: var(--body-text-color); }
.nl-tools button { padding: 4px 12px; border: 1px solid var(--input-border-color); border-radius: 6px;
  color: var(--body-text-color); background: var(--input-background-fill); cursor: pointer; }
.nl-plan p, .nl-plan ul { margin: 2px; font-size: 14px; }
.nl-plan ul { padding-left: 20px; color: var(--body-text-color-subdued); font-size: 13.5px; }

.nl-form h3 { font-size: 14px; font-weight: 600; margin: 10px 12px 0; }
.nl-drop .wrap { flex-direction: row; flex-wrap: wrap; gap: 2px 6px; align-content: center; padding-top: 24px;
  font-size: 14px; line-height: 1.3; }
.nl-drop .icon-wrap { width: 16px; margin: 0; }
.block.nl-maybe:has(.prose:empty) { display: none; }  /* no gap for nothing */
.nl-actions { justify-content: flex-start; align-items: center; }
.nl-status { flex: 1 1 120px !important; }
.nl-status .wrap { background: none !important; }
.nl-status .progress-text, .nl-status .meta-text { font-family: var(--font) !important; }
.nl-actions button { flex: 0 0 auto !important; min-width: 120px !important; }
a:focus-visible, button:focus-visible, input:focus-visible, [tabindex]:focus-visible {
  outline: 2px solid var(--color-accent) !important; outline-offset: 2px; }
footer { display: none !important; }
@media (max-width: 640px) {
  .nl-photo { grid-template-columns: 96px minmax(0, 1fr); }
  .nl-photo .nl-bar { display: none; }
  .nl-photo .nl-bars li > * { grid-template-columns: minmax(0, 1fr) 46px; }
  .nl-actions button { flex: 1 1 0 !important; min-width: 88px !important; padding: 8px 10px !important; }
  .nl-easel { grid-template-columns: minmax(0, 1fr); }
  .nl-runs thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .nl-runs tbody tr { display: grid; grid-template-columns: 96px repeat(3, minmax(0, 1fr)); padding: 6px 0; }
  .nl-runs td { padding: 1px 4px; white-space: normal !important; }
  .nl-runs td:first-child { grid-row: span 5; align-self: center; }
  .nl-runs td[data-name="Pictures"], .nl-runs td[data-name="Settings"] { grid-column: 2 / -1; }
  .nl-runs td:nth-child(n+4)::before { content: attr(data-name) " "; color: var(--body-text-color-subdued);
    font-size: 12px; display: block; }
}
"""
