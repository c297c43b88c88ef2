"""The stream of results between the page and the server: no event is lost where the server ends a stream."""

from __future__ import annotations

import pytest

from netlens.playground._stream import SCRIPT

pytestmark = pytest.mark.browser

# a server whose answers the test sends by hand
_SERVER = """
    window.streams = [];
    window.joins = [];
    window.fetch = (input, init) => {
        if (String(input.url ?? input).endsWith('/queue/join'))
            return new Promise((resolve) => window.joins.push((id) => resolve(Response.json({event_id: id}))));
        const stream = {signal: init.signal};
        const body = new ReadableStream({start: (one) => { stream.out = one; }});
        stream.say = (msg, id) => stream.out.enqueue(
            new TextEncoder().encode('data: ' + JSON.stringify({msg, event_id: id}) + '\\n\\n'));
        stream.end = () => { stream.say('close_stream'); stream.out.close(); };
        window.streams.push(stream);
        return Promise.resolve(new Response(body));
    };
"""
_PAGE = """
    window.heard = [];
    window.join = () => fetch('http://page.test/queue/join', {method: 'POST'}).then((one) => one.json());
    window.follow = async () => {
        window.leave = new AbortController();
        const answer = await fetch(new Request('http://page.test/queue/data?a=1', {signal: window.leave.signal}));
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        for (;;) {
            const {done, value} = await reader.read();
            if (done) break;
            for (const line of value.split('\\n\\n').filter(Boolean)) {
                const {msg, event_id} = JSON.parse(line.slice(5));
                window.heard.push(event_id ? `${msg} ${event_id}` : msg);
            }
        }
        window.heard.push('end');
    };
    window.rest = () => new Promise((resolve) => setTimeout(resolve, 20));
"""


@pytest.fixture
def page(browser):
    one = browser.new_page()
    one.route("http://page.test/", lambda route: route.fulfill(body="<html></html>", content_type="text/html"))
    one.goto("http://page.test/")
    one.evaluate(f"() => {{ {_SERVER} {SCRIPT} {_PAGE} }}")
    yield one
    one.close()


def test_a_stream_that_ends_when_another_event_is_asked_for_is_opened_again(page):
    heard, streams = page.evaluate(
        """async () => {
            const first = join(); joins[0]('a'); await first;
            follow(); await rest();
            streams[0].say('process_completed', 'a');
            const second = join();  // the server knows of no event and ends the stream, before it reads this
            streams[0].end(); await rest();
            joins[1]('b'); await second; await rest();
            streams[1].say('process_completed', 'b');
            streams[1].end(); await rest();
            return [heard, streams.length];
        }"""
    )
    assert heard == ["process_completed a", "process_completed b", "close_stream", "end"]
    assert streams == 2


def test_the_server_ends_a_stream_that_the_page_leaves_at_its_end(page):
    before, after = page.evaluate(
        """async () => {
            const first = join(); joins[0]('a'); await first;
            follow(); await rest();
            streams[0].say('process_completed', 'a');
            streams[0].say('close_stream'); await rest();
            const before = [...heard];
            leave.abort(); await rest();  // as Gradio does when it hears of the end
            return [before, streams[0].signal.aborted];
        }"""
    )
    assert before == ["process_completed a", "close_stream"]
    assert after is False


def test_a_stream_that_the_page_leaves_earlier_is_left(page):
    assert page.evaluate(
        """async () => {
            const first = join(); joins[0]('a'); await first;
            follow().catch(() => {}); await rest();
            leave.abort(); await rest();
            return streams[0].signal.aborted;
        }"""
    )


def test_an_event_that_ends_before_its_number_is_known_is_not_waited_for(page):
    heard, streams = page.evaluate(
        """async () => {
            const first = join();
            follow(); await rest();
            streams[0].say('process_completed', 'a'); await rest();
            joins[0]('a'); await first; await rest();
            streams[0].end(); await rest();
            return [heard, streams.length];
        }"""
    )
    assert heard == ["process_completed a", "close_stream", "end"]
    assert streams == 1


def test_all_events_of_the_page_go_through_the_script(tab, address):
    tab.add_init_script(
        """
        const plain = window.fetch.bind(window);
        window.joins = [];
        window.fetch = (input, init) => {
            if (String(input.url ?? input).includes('/queue/join')) joins.push(new Error().stack.includes('joined'));
            return plain(input, init);
        };
        """
    )
    tab.goto(address)
    tab.wait_for_function("joins.length > 3")
    joins = tab.evaluate("joins")
    assert joins
    assert all(joins)
