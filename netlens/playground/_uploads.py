"""Uploads: the pictures that a person has dropped on a page. All lists of pictures of the page offer them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import gradio as gr

from netlens.playground._jobs import light
from netlens.playground._studio import Studio

Choices = Sequence[tuple[str, str]]
"""Pictures to choose from: what a list shows, and its value."""

_NAMES = "netlensUploads"
# the browser keeps the names until its tab is closed, because Back loads the page again
_KEPT = f"() => window.netlensKept = sessionStorage.getItem('{_NAMES}') || ''"
_UNSEEN = f"""(names) => {{
    if (names) sessionStorage.setItem('{_NAMES}', names);
    return [names, names === window.netlensKept ? '' : window.netlensUnseen(TABS)];
}}"""


class _List(NamedTuple):
    component: gr.Dropdown
    base_choices: Choices
    spelled: Callable[[str], str]
    tab: str


class Uploads:
    """The pictures that a person has dropped on a page, by name.

    Args:
        studio: Keeps the pictures.
    """

    def __init__(self, studio: Studio) -> None:
        self.names = gr.Textbox(visible="hidden", elem_id="uploads", interactive=True)
        """The names, a line each."""
        self._unseen = gr.Textbox(visible="hidden")
        self._studio = studio
        self._lists: list[_List] = []

    def offer_in(
        self, component: gr.Dropdown, base_choices: Choices, spelled: Callable[[str], str] = str, tab: str = ""
    ) -> None:
        """Let a list offer the pictures.

        Args:
            component: The list.
            base_choices: What it offers besides them.
            spelled: Turns the name of a picture into a value of the list.
            tab: The name of a tab in which a new picture is chosen as long as nobody has looked at the tab.
        """
        self._lists.append(_List(component, base_choices, spelled, tab))

    def added(self, names: str, mine: Iterable[str]) -> str:
        """The names with those of new pictures."""
        return "\n".join(dict.fromkeys([*self._names_here(names), *mine]))

    def choices(self, names: str, base_choices: Choices, spelled: Callable[[str], str] = str) -> Choices:
        """What a list offers; see `offer_in`."""
        return [*base_choices, *((name, spelled(name)) for name in self._names_here(names))]

    def follow(self, opened: gr.Textbox) -> None:
        """Let all lists follow, when all tabs are built.

        Args:
            opened: Changes when the page is open.
        """
        opened.change(None, None, self.names, js=_KEPT, queue=False, show_progress="hidden")
        lists = [one.component for one in self._lists]
        tabs = json.dumps([one.tab for one in self._lists if one.tab])
        unseen = _UNSEEN.replace("TABS", tabs)
        light(self.names.change, self._offered, [self.names, self._unseen], lists, js=unseen)

    def _offered(self, names: str, unseen: str) -> list[Any]:
        names_here, updates = self._names_here(names), []
        for one in self._lists:
            fresh = names_here and one.tab in (unseen or "").split()
            value = {"value": one.spelled(names_here[-1])} if fresh else {}
            updates.append(gr.update(choices=self.choices(names, one.base_choices, one.spelled), **value))
        return updates

    def _names_here(self, names: str | None) -> list[str]:
        """The names of pictures that are still here."""
        return [name for name in (names or "").split("\n") if name and self._studio.uploads.get(name) is not None]
