"""Stream: the results of the page's events, none of which is lost.

Gradio 6.31 sends the results of all events of a page through one stream, and the server ends the stream when the last
event that it knows has ended. If the page asks for another event at this moment, two things go wrong. The page closes
the stream although it has just got a new event, which then never ends. Or the server sees the page close the stream,
and forgets the new event. A page with many events at its start, such as that of a link, then stays half empty.

The script stands between the page and the server. It knows which events have not ended, so it ends the stream for the
page only if there are none, and opens it again otherwise. It lets the server end its own part.
"""

from __future__ import annotations

SCRIPT = """
(() => {
    const ask = window.fetch.bind(window);
    const going = new Set(), ended = new Set();  // events, by their ids
    let asking = 0;  // requests for events that the server has not answered

    async function joined(input, init) {
        asking += 1;
        try {
            const answer = await ask(input, init);
            const id = answer.ok ? (await answer.clone().json()).event_id : undefined;
            if (id && !ended.delete(id)) going.add(id);
            return answer;
        } finally {
            asking -= 1;
        }
    }

    function followed(input, init) {
        const request = new Request(input, init), ours = new AbortController();
        const again = () => ask(request.url, {
            headers: request.headers, credentials: request.credentials, signal: ours.signal,
        });
        let last = false;  // the page was told that the stream ends, and the server ends it
        request.signal.addEventListener('abort', () => last || ours.abort());

        // the messages of one answer; true if the server has ended it and the page waits for more
        async function told(answer, page) {
            const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
            let text = '', more = false;
            for (;;) {
                const {done, value} = await reader.read();
                if (done) return more;
                text += value;
                const blocks = text.split('\\n\\n');
                text = blocks.pop();
                for (const block of blocks) {
                    const {msg, event_id} = JSON.parse(block.slice(block.indexOf('{')));
                    if (msg === 'process_completed' && !going.delete(event_id)) ended.add(event_id);
                    if (msg === 'close_stream') {
                        more = going.size + asking > 0;
                        if (more) continue;
                        last = true;
                    }
                    page.enqueue(new TextEncoder().encode(block + '\\n\\n'));
                }
            }
        }

        return again().then((first) => {
            if (!first.ok) return first;
            const body = new ReadableStream({
                async start(page) {
                    try {
                        let answer = first;
                        while (await told(answer, page)) answer = await again();
                        page.close();
                    } catch (error) {
                        if (!last) page.error(error);
                    }
                },
                cancel: () => last || ours.abort(),
            });
            return new Response(body, {status: first.status, headers: first.headers});
        });
    }

    window.fetch = (input, init) => {
        const path = new URL(input.url ?? input, location.href).pathname;
        if (path.endsWith('/queue/join')) return joined(input, init);
        return path.endsWith('/queue/data') ? followed(input, init) : ask(input, init);
    };
})();
"""
