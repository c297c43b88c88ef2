"""Links: what the page shows as the address of the page, so that others can be shown the same."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from netlens.errors import NetLensError

_BETWEEN = "~"  # between the items of a list; no name of a method or layer holds it
_LONGEST = 2000
_MOST = 2.0**53  # up to here, JavaScript holds whole numbers exactly


SCRIPT = """
(() => {
    let shown = location.search;  // what the page shows
    let last;  // the tab that is shown
    const seen = new Set();  // the tabs that were shown
    const places = {};  // of each tab, the values whose change is a move
    addEventListener('popstate', () => { if (location.search !== shown) location.reload(); });

    window.netlensOpen = (name) => {
        window.netlensOpened = true;
        if (name !== 'start') seen.add(last = name);
        return name;
    };
    window.netlensUnseen = (tabs) => tabs.filter((tab) => !seen.has(tab)).join(' ');
    window.netlensFollow = (event, tab, moves, texts) => {
        const place = JSON.stringify(moves.map((name) => texts[name] ?? ''));
        let moved = places[tab] !== undefined && places[tab] !== place;
        places[tab] = place;
        if (event === 'shown') {
            moved = last !== undefined && last !== tab;
            seen.add(last = tab);
        }
        if (!window.netlensOpened || last !== tab || event === 'opened') return;
        const address = new URL(location.href);
        address.search = new URLSearchParams({tab, ...texts});
        if (address.search === shown) return;
        shown = address.search;
        history[moved ? 'pushState' : 'replaceState'](history.state, '', address);
    };
})();
"""
"""JavaScript that writes the address of the tab that is shown. A move becomes an entry of the browser's history.

It also tells which of some tabs nobody has seen since the page was loaded.
"""

OPENED = "(name) => window.netlensOpen(name)"
"""JavaScript for the moment at which the page shows what its address says. Before, nothing may write the address.

It gets the name of the tab that the address opens, or "start" if it opens none.
"""


@dataclass(frozen=True)
class Linked:
    """The components of a tab whose values are part of the address.

    Args:
        tab: The name of the tab.
        components: The components by the name of their parameter.
        events: Events after which the address is written, beside the changes of the components.
        moves: The names of parameters whose change is a move, which the Back button of the browser undoes.
    """

    tab: str
    components: Mapping[str, Any]
    events: Sequence[Any] = ()
    moves: Sequence[str] = ()

    def values(self, parameters: Mapping[str, str]) -> list[Any]:
        """The values of the components in the parameters of an address; no change for those that it leaves out.

        Raises:
            NetLensError: A value is too long. A part of it would be another state of the page.
        """
        mine = parameters if parameters.get("tab") == self.tab else {}
        for name in self.components:
            if len(mine.get(name, "")) > _LONGEST:
                raise NetLensError(f"{name} has {len(mine[name])} letters in this link; up to {_LONGEST} are read.")
        return [
            value_of(mine[name], component) if name in mine else gr.skip()
            for name, component in self.components.items()
        ]

    def follow(self, shown: Any, opened: gr.Textbox) -> None:
        """Write the address when the tab is shown, after `events`, and after each change of a component.

        Args:
            shown: The event with which the tab is shown.
            opened: Changes when the components have the values of a link.
        """
        components = list(self.components.values())
        changes = [*self.events, *(component.change for component in components)]
        for name, events in (("shown", [shown]), ("opened", [opened.change]), ("changed", changes)):
            gr.on(events, None, components, None, js=self.script(name), queue=False, show_progress="hidden")

    def script(self, event: str) -> str:
        """JavaScript that tells `SCRIPT` of an event, with the values of the components."""
        arguments = ", ".join(json.dumps(one) for one in (event, self.tab, list(self.moves)))
        return f"""(...values) => {{
            const texts = {{}};
            {json.dumps(list(self.components))}.forEach((name, index) => {{
                const value = values[index];
                const text = Array.isArray(value) ? value.join({json.dumps(_BETWEEN)}) : value;
                if (text !== null && text !== undefined && text !== "") texts[name] = text;
            }});
            window.netlensFollow({arguments}, texts);
        }}"""


def value_of(text: str, component: Any) -> Any:
    """The value of a component that a text in an address means."""
    if isinstance(component, gr.Dropdown) and component.multiselect:
        return text.split(_BETWEEN)
    if isinstance(component, gr.Slider | gr.Number):
        try:
            number = float(text)
        except ValueError:
            return gr.skip()
        # infinity and NaN have no JSON, and one of them would break the whole link
        return number if math.isfinite(number) and abs(number) < _MOST else gr.skip()
    return text
