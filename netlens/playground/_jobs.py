"""Jobs: the events of the page that compute. A heavy job waits its turn, streams, and can be stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Literal, NamedTuple

import gradio as gr

from netlens.playground._work import Show, in_one_line, shown_as_made

_WHILE_BUSY = """
const status = document.querySelector('#TAB-status');
const look = () => {
    const sign = status.querySelector('[data-testid=status-tracker]');
    const busy = sign !== null && !sign.classList.contains('hide') && sign.querySelector('.error') === null;
    const button = document.querySelector('#TAB-stop');
    if (button === null) requestAnimationFrame(look);  // the page is still being built
    else if (button.disabled === busy) button.disabled = !busy;
};
new MutationObserver(look).observe(status, {subtree: true, childList: true, attributes: true});
look();
"""
"""JavaScript that reads Gradio's sign of work, the one place that also knows whether a job waits in the queue."""

EACH: Literal["multiple"] = "multiple"
"""Each event runs. With "always_last", Gradio puts off an event that comes while its function runs, and dispatches it
anew with all its functions when the function ends. Events with several functions then put each other off without end.
"""


class Stop(NamedTuple):
    """A button that stops the heavy job of a tab, and the place beside it that shows the queue."""

    button: gr.Button
    status: gr.HTML


def stop_button(tab: str) -> Stop:
    """Put a button that stops the heavy job of a tab on the page, and the place for its queue.

    The button is enabled while there is a job to stop, which runs or waits in the queue.
    """
    button = gr.Button("Stop", elem_id=f"{tab}-stop", size="md")
    script = _WHILE_BUSY.replace("TAB", tab)
    return Stop(button, gr.HTML(elem_id=f"{tab}-status", elem_classes="nl-status", min_height=36, js_on_load=script))


Work = Callable[[Show[Any]], None]


def heavy(
    triggers: Any, job: Callable[..., Work | None], inputs: Any, outputs: Any, stop: Stop, js: str | None = None
) -> None:
    """Let an event start a heavy job: one at a time for the whole page, in a queue whose length users see.

    Args:
        triggers: The event, such as `button.click`, or a list of events.
        job: Gets the values of `inputs`, and gives the work: a function that computes, and shows what it has so far.
            None if there is nothing to do.
        inputs: Components.
        outputs: A component, or a list of them; what the work shows are their values.
        stop: What stops it; see `stop_button`.
        js: JavaScript of a function that gets the values first, and gives what the job gets.
    """
    still = gr.skip() if not isinstance(outputs, list) else tuple(gr.skip() for _ in outputs)

    def stream(*values: Any) -> Iterator[Any]:
        with in_one_line():
            work = job(*values)
            if work is None:
                yield still
                return
            for shown in shown_as_made(work):
                yield still if shown is None else shown

    event = gr.on(
        triggers if isinstance(triggers, list) else [triggers],
        stream,
        inputs,
        outputs,
        concurrency_id="heavy",
        concurrency_limit=1,
        js=js,
        trigger_mode="always_last",
        show_progress="full",
        show_progress_on=stop.status,
        api_visibility="private",
    )
    stop.button.click(None, None, None, cancels=[event], queue=False)


def light(triggers: Any, function: Callable[..., Any], inputs: Any, outputs: Any, js: str | None = None) -> Any:
    """Let events start a short computation, which does not wait for heavy jobs.

    Args:
        triggers: As for `heavy`.
        function: Gets the values of `inputs`, and gives those of `outputs`.
        inputs, outputs: Components.
        js: As for `heavy`.
    """

    @wraps(function)  # Gradio reads the annotations, to give an event or a request
    def answer(*values: Any) -> Any:
        with in_one_line():
            return function(*values)

    return gr.on(
        triggers if isinstance(triggers, list) else [triggers],
        answer,
        inputs,
        outputs,
        concurrency_id="light",
        concurrency_limit=1,
        js=js,
        trigger_mode=EACH,
        show_progress="hidden",
        api_visibility="private",
    )
