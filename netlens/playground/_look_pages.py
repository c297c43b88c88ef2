"""The pages of the tab Look inside: of a layer, a place, a channel. Their sections appear in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from netlens.errors import NetLensError
from netlens.lens import NetLens
from netlens.playground import _html as html
from netlens.playground import _look as look
from netlens.playground._explain import drawn, in_a_line
from netlens.playground._layers import reach, rows_of, shapes_of
from netlens.playground._see import See
from netlens.playground._store import digest
from netlens.playground._studio import Studio
from netlens.playground._wiring import Wire, incoming, outgoing
from netlens.playground._wish import CHANNEL

CHANNELS = 18  # of a layer
BARS = 8
EXAMPLES = 6
DIVERSE = 3
STOPPED = "stopped"


@dataclass(frozen=True)
class Section:
    """A part of a page: its title, a sentence about it, and the function that makes it."""

    title: str
    note: str
    make: Callable[[], str]


@dataclass(frozen=True)
class Page:
    """A page about what `see` names, for a picture and a class. It makes its sections when it is asked for them."""

    studio: Studio
    picture: str
    target: object
    see: See

    @property
    def lens(self) -> NetLens:
        return self.studio.lens(self.picture, self.target)

    @property
    def key(self) -> str:
        """The exact key of the layer."""
        return self.studio.flat.key(self.see.layer)

    def sections(self) -> list[Section]:
        """The sections in their order."""
        if self.see.channel is not None:
            return self._of_a_channel(self.see.channel)
        if self.see.at is not None:
            return self._of_a_place(self.see.at)
        return [
            Section(
                "Strongest channels",
                "The channels with the highest mean for this picture. Click on one for its page.",
                self._strongest,
            )
        ]

    def stored_text(self, section: Section) -> str | None:
        """A section that was made before."""
        return self.studio.drawn.get(self._name(section))

    def text_of(self, section: Section) -> str:
        """A section, made now; where it has no meaning, the reason."""
        try:
            text = section.make()
        except NetLensError as error:
            return html.hint(in_a_line(error))
        self.studio.drawn.put(self._name(section), text)
        return text

    def html(self, texts: dict[str, str], next_: str = "computing") -> str:
        """The page with the sections that are made so far.

        Args:
            texts: The sections by title.
            next_: What is said of the next section.
        """
        parts = []
        for section in self.sections():
            body = texts.get(section.title)
            if body is None:
                body = html.hint(f"{next_} …" if next_ != STOPPED else STOPPED)
                next_ = "waiting" if next_ != STOPPED else STOPPED
            note = html.hint(section.note)
            parts.append(f'<section class="nl-section"><h3>{escape(section.title)}</h3>{note}{body}</section>')
        return f'{self._head()}<div class="nl-sections">{"".join(parts)}</div>'

    def _name(self, section: Section) -> str:
        return digest(self.picture, self.target, str(self.see), section.title)

    def _head(self) -> str:
        row = next((row for row in rows_of(self.studio) if row[0] == self.key), None)
        facts = [] if row is None else [row[1], row[2], reach(row[3])]
        trail = f'<a href="{escape(self.href(See(self.key)))}" data-say="{escape(self.key)}">{escape(self.key)}</a>'
        if self.see.channel is not None:
            trail += f" <span>channel {self.see.channel}</span>"
        elif self.see.at is not None:
            trail += f" <span>at {self.see.at[0]:.0%} across, {self.see.at[1]:.0%} down</span>"
        here = escape(self.href(self.see))
        draw = ""
        if self.see.channel is not None:
            address = html.link(tab="dream", what=CHANNEL, layer=self.key, channel=self.see.channel)
            draw = f' <a class="nl-here" href="{escape(address)}">draw this channel</a>'
        return (
            f'<div class="nl-trail"><h2>{trail}</h2><p class="nl-note">{escape(" · ".join(filter(None, facts)))}'
            f' <a class="nl-here" href="{here}">link to this page</a>{draw}</p></div>'
        )

    def href(self, see: See) -> str:
        """The address of another page for the same picture."""
        return html.link(tab="look", picture=self.picture, see=str(see))

    # the page of a layer

    def _strongest(self) -> str:
        maps = look.maps_of(self.lens, self.key)
        firings = look.strongest(maps, CHANNELS)
        if maps.shape[1:] == (1, 1):
            return self._bars([(self.key, one.channel, one.value) for one in firings])
        figures = [
            html.figure(
                look.drawn_map(self.lens, maps[one.channel]),
                f"{one.channel}",
                f"{one.value:.3g}",
                f"where channel {one.channel} is high",
                say=str(See(self.key, one.channel)),
                href=self.href(See(self.key, one.channel)),
            )
            for one in firings
        ]
        return html.grid(figures, small=True)

    # the page of a place

    def _of_a_place(self, at: tuple[float, float]) -> list[Section]:
        lens = self.lens
        name = lens.name_of(lens.targets[0])
        return [
            Section("What it sees", "The part of the picture that this position depends on.", lambda: self._field(at)),
            Section("Channels that fire here", "The highest values at this position.", lambda: self._firing(at)),
            Section(
                f"What they say for {name}",
                "The value of each channel here, times the gradient of the score.",
                lambda: self._spoken(at),
            ),
            Section(
                "As a picture", "A picture that the layer sees as it sees this position.", lambda: self._pictured(at)
            ),
        ]

    def _cell(self, at: tuple[float, float]) -> tuple[int, int]:
        return look.cell_of(look.maps_of(self.lens, self.key), at)

    def _field(self, at: tuple[float, float]) -> str:
        maps = look.maps_of(self.lens, self.key)
        cell = look.cell_of(maps, at)
        box = look.receptive_box(self.lens, self.key, cell, (maps.shape[1], maps.shape[2]))
        where = f"row {cell[0]}, column {cell[1]} of {maps.shape[1]} × {maps.shape[2]}"
        figures = [html.figure(look.marked(self.lens, box), "in the picture", where)]
        if box is None:
            return html.hint("This layer sees the whole picture at every position.") + html.grid(figures, small=True)
        figures.append(html.figure(look.cropped(self.lens, box), "enlarged", f"{box[2] - box[0]} × {box[3] - box[1]}"))
        return html.grid(figures, small=True)

    def _firing(self, at: tuple[float, float]) -> str:
        maps = look.maps_of(self.lens, self.key)
        firings = look.firing(maps, look.cell_of(maps, at), BARS)
        return self._bars([(self.key, one.channel, one.value) for one in firings])

    def _spoken(self, at: tuple[float, float]) -> str:
        firings = look.spoken(self.lens, self.key, self._cell(at), BARS)
        return self._bars([(self.key, one.channel, one.value) for one in firings])

    def _pictured(self, at: tuple[float, float]) -> str:
        picture = look.pictured_place(self.lens, self.key, self._cell(at))
        return html.grid([html.figure(picture, "this position")], small=True)

    # the page of a channel

    def _of_a_channel(self, channel: int) -> list[Section]:
        lens, key = self.lens, self.key
        look.check_channel(look.maps_of(lens, key), key, channel)

        def examples() -> str:
            parts = look.exciting(lens, key, channel, self.studio.files, EXAMPLES)
            return html.grid([html.figure(one, name, f"{value:.3g}") for one, name, value in parts], small=True)

        def pictured(render: Callable[[], object], titles: Sequence[str]) -> Callable[[], str]:
            def body() -> str:
                pictures = look.pictures_of(render())  # type: ignore[arg-type]
                return html.grid([html.figure(*pair) for pair in zip(pictures, titles, strict=True)], small=True)

            return body

        draw = look.dreamer(lens)
        return [
            Section(
                "In this picture", "Where the channel is high, and which pixels raise it.", lambda: self._here(channel)
            ),
            Section(
                "Incoming channels",
                "From which channels it is computed, by weight.",
                lambda: self._wires(incoming(self.studio.flat, shapes_of(self.studio), key, channel)),
            ),
            Section(
                "Outgoing channels",
                "Which channels read it, by weight.",
                lambda: self._wires(outgoing(self.studio.flat, shapes_of(self.studio), key, channel)),
            ),
            Section(
                "What excites it",
                "A picture drawn from noise that excites the channel.",
                pictured(lambda: draw.channel(key, channel), ["excites it"]),
            ),
            Section(
                "Pictures that excite it most", f"Parts of up to {look.SEARCHED} of this page's pictures.", examples
            ),
            Section(
                "What inhibits it",
                "A picture that makes the channel as low as it can be.",
                pictured(lambda: draw.negative(key, channel), ["inhibits it"]),
            ),
            Section(
                "Diverse",
                "Different pictures that all excite it.",
                pictured(lambda: draw.diverse(key, channel, DIVERSE), [str(i + 1) for i in range(DIVERSE)]),
            ),
        ]

    def _here(self, channel: int) -> str:
        maps = look.maps_of(self.lens, self.key)
        figures = []
        if maps.shape[1:] != (1, 1):
            figures.append(
                html.figure(look.drawn_map(self.lens, maps[channel]), "activation", f"mean {maps[channel].mean():.3g}")
            )
        result = look.attributed(self.lens, self.key, channel)
        figures.append(html.figure(drawn(result, "signed", 1.0).resize((192, 192)), "attribution", "red raises it"))
        return html.grid(figures, small=True)

    def _wires(self, wires: Sequence[Wire]) -> str:
        if not wires:
            return html.hint("No weights between channels lead here.")
        return self._bars([(wire.layer, wire.channel, wire.weight) for wire in wires[:BARS]])

    def _bars(self, rows: Sequence[tuple[str, int, float]]) -> str:
        """Channels with a number each; a click on one opens its page."""
        sees = [See(layer, channel) for layer, channel, _ in rows]
        hrefs = [self.href(see) for see in sees]
        lines = []
        for layer, channel, value in rows:
            name = f"channel {channel}" if layer == self.key else f"{layer}:{channel}"
            lines.append((name, value, f"{value:.3g}".replace("-", "−")))
        return html.bars(lines, [str(see) for see in sees], hrefs)
