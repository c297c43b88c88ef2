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
_MOST = 2.0**53  # up to here, browsers tell whole numbers apart


OPENED = "(name) => { window.netlensOpened = true; return name; }"
"""JavaScript for the moment at which the page shows what its address says. Before, nothing may write the address."""


@dataclass(frozen=True)
class Linked:
    """The components of a tab whose values are part of the address.

    Args:
        tab: The name of the tab.
        components: The components by the name of their parameter.
        events: Events after which the address is written, beside the changes of the components.
    """

    tab: str
    components: Mapping[str, Any]
    events: Sequence[Any] = ()

    def values(self, given: Mapping[str, str]) -> list[Any]:
        """The values of the components in the parameters of an address; no change for those that it leaves out.

        Raises:
            NetLensError: A value is too long. A part of it would be another state of the page.
        """
        mine = given if given.get("tab") == self.tab else {}
        for name in self.components:
            if len(mine.get(name, "")) > _LONGEST:
                raise NetLensError(f"{name} has {len(mine[name])} letters in this link; up to {_LONGEST} are read.")
        return [
            value_of(mine[name], component) if name in mine else gr.skip()
            for name, component in self.components.items()
        ]

    @property
    def script(self) -> str:
        """JavaScript that writes the values of the components into the address, once `OPENED` has run."""
        return f"""(...values) => {{
            if (!window.netlensOpened) return;
            const address = new URL(window.location.href);
            address.search = "";
            address.searchParams.set("tab", {json.dumps(self.tab)});
            {json.dumps(list(self.components))}.forEach((name, index) => {{
                const value = values[index];
                const text = Array.isArray(value) ? value.join({json.dumps(_BETWEEN)}) : value;
                if (text !== null && text !== undefined && text !== "") address.searchParams.set(name, text);
            }});
            window.history.replaceState(window.history.state, "", address);
        }}"""

    def follow(self, *triggers: Any) -> None:
        """Write the address after each of these events, after `events`, and after each change of a component."""
        events = [*self.events, *(component.change for component in self.components.values())]
        components = list(self.components.values())
        gr.on([*triggers, *events], None, components, None, js=self.script, queue=False, show_progress="hidden")


def value_of(text: str, component: Any) -> Any:
    """The value of a component that a text in an address means."""
    if isinstance(component, gr.Dropdown) and component.multiselect:
        return text.split(_BETWEEN)
    if isinstance(component, gr.Slider | gr.Number):
        try:
            number = float(text)
        except ValueError:
            return gr.skip()
        # others have no JSON, and would end the whole link
        return number if math.isfinite(number) and abs(number) < _MOST else gr.skip()
    return text
