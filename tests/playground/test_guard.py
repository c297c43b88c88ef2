"""The server answers for its own host and its own page alone, and serves nothing but what was made."""

from __future__ import annotations

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from netlens.playground import application
from netlens.playground._explain import Answer, Question, explain, key_of
from netlens.playground._guard import Guard
from netlens.playground._studio import MOST_BYTES

httpx = pytest.importorskip("httpx", reason="httpx, which gradio brings, is not installed")


def run(coroutine):
    """The result of a coroutine. It runs in a thread of its own, because playwright's loop may hold this one."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, coroutine).result()


def response_of(app, path="/", method="GET", **options):
    """The response to one request. The routes are asked without a server."""

    async def ask():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7860") as client:
            return await client.request(method, path, **options)

    return run(ask())


@pytest.fixture(scope="module")
def app(studio):
    return application(studio)


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "localhost"])
def test_the_own_host_is_answered(app, host):
    assert response_of(app, headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "192.168.0.7", "", "[::1"]
)
def test_another_host_is_refused(app, host):
    assert response_of(app, headers={"host": host}).status_code == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "https://localhost:1", "null", "http://localhost:7860"])
def test_a_page_of_another_site_is_refused(app, origin):
    answer = response_of(app, "/gradio_api/queue/join", "POST", headers={"origin": origin}, json={})
    assert answer.status_code == 403


def test_the_own_page_may_ask(app):
    answer = response_of(app, "/gradio_api/queue/join", "POST", headers={"origin": "http://127.0.0.1:7860"}, json={})
    assert answer.status_code not in (403, 404)


def test_a_server_at_all_addresses_answers_for_addresses_and_not_for_names(studio):
    app = Guard(application(studio), ["0.0.0.0"], MOST_BYTES)
    assert Guard(None, ["0.0.0.0"], 1)._is_ours("192.168.0.7:80")
    assert not app._is_ours("evil.example:80")
    assert not Guard(None, ["127.0.0.1"], 1)._is_ours("192.168.0.7:80")


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=setup.py",
        "/gradio_api/file=../../etc/passwd",
        "/gradio_api/file=http://evil.example/x.png",
        "/gradio_api/proxy=https://x.hf.space/",
        "/gradio_api/info",
        "/static/../../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/index.html",
        "/result/nobody.png",
        "/docs",
        "/openapi.json",
    ],
)
def test_no_file_of_the_machine_and_no_other_host_is_served(app, path):
    answer = response_of(app, path)
    assert answer.status_code in (400, 403, 404), answer.text[:200]
    assert "root:" not in answer.text


def test_what_was_made_is_served_as_a_picture_and_as_numbers(app, studio):
    question = Question("scene 3", None, ("saliency",))
    answers: list[Answer] = []
    explain(studio, question, answers.append)
    key = key_of(question, "saliency")
    assert answers[0].key == key
    picture = response_of(app, f"/result/{key}.png")
    assert Image.open(io.BytesIO(picture.content)).format == "PNG"
    assert "attachment" in picture.headers["content-disposition"]
    numbers = np.load(io.BytesIO(response_of(app, f"/result/{key}.npz").content))
    assert np.array_equal(numbers["values"], answers[0].result.values.numpy())


def test_a_body_that_is_too_large_is_refused_before_it_is_read(app):
    headers = {"content-length": str(MOST_BYTES * 2)}
    assert response_of(app, "/gradio_api/upload", "POST", headers=headers, content=b"x").status_code == 413


def test_a_body_without_a_length_is_cut_off():
    got = []

    async def app(scope, receive, send):
        while (message := await receive())["type"] != "http.disconnect":
            got.append(len(message["body"]))

    async def receive():
        return {"type": "http.request", "body": b"x" * 400, "more_body": True}

    scope = {"type": "http", "path": "/", "headers": [(b"host", b"localhost")]}
    run(Guard(app, [], 1000)(scope, receive, None))
    assert got == [400, 400]


def test_browsers_may_load_nothing_from_elsewhere(app):
    policy = response_of(app).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
