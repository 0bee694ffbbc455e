"""The page in a real Chromium: what it shows, by which keys, and that nothing of a stream runs."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from quic.chromium import Chromium

pytest.importorskip("starlette", reason="the web dashboard needs the extra 'ui'")

from midstream.apps.feed import Feed
from midstream.apps.web import Dashboard
from midstream.stream import Event, Finding, Recorder, shipped_recordings
from midstream.stream.events import KINDS

#: What would run, load, or hide something, wherever a page takes text for more than text.
HOSTILE = (
    "<script>window.ran=1</script>",
    "<img src=x onerror=window.ran=2>",
    "</textarea></title></style></pre><svg onload=window.ran=3>",
    "\"'><iframe srcdoc='<script>parent.ran=4</script>'></iframe>",
    "javascript:window.ran=5",
    "<a href=javascript:window.ran=6 autofocus onfocus=window.ran=6>x</a>",
    "${window.ran=7}{{constructor.constructor('window.ran=8')()}}",
    "<style>*{display:none}</style><link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<form action=//evil.example><input name=q></form>",
    "&lt;script&gt;&#x3c;script>&amp;",
    "\x1b[2J\x1b]0;owned\x07\x9b31m",
    "\u202eesrever\u202c \u2066isolated\u2069 \u200b\u200e\ufeff",
    "\ud800 lone \udfff surrogates",
    "😀👩‍👩‍👧‍👦 é é Z\u0335\u0322\u030d",
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "\x00\x01\x7f\u2028\u2029\r\n\t",
    "w" * (1 << 20),
)
ALL = " ".join(HOSTILE[:-1])


@pytest.fixture
async def browser() -> AsyncIterator[Chromium]:
    async with Chromium() as found:
        yield found


async def opened(browser: Chromium, page: Dashboard, how: str = "WebTransport") -> None:
    await browser.open(page.url)
    await browser.until("document.getElementById('link').dataset.state === 'open'")
    assert (await browser.value("document.getElementById('link').textContent")).endswith(how)


async def press(browser: Chromium, *keys: str) -> None:
    """Press keys, whatever has the focus."""
    chains = pytest.importorskip("selenium.webdriver", reason="selenium").ActionChains
    await asyncio.to_thread(chains(browser._driver).send_keys(*keys).perform)


async def no_complaints(browser: Chromium) -> None:
    messages = [line for line in await browser.messages() if "favicon" not in line]
    assert messages == []


def attack(feed: Feed, texts: tuple[str, ...]) -> None:
    """Put texts into every field of everything that a feed takes."""
    for text in texts:
        stream = feed.open(text, labels={text: text, "label": text})
        for number, kind in enumerate(KINDS):
            data: Any = {
                "level_dbfs": text,
                "peak_dbfs": -1.0,
                "size": [text, text],
                "usage": {text: 1, "input_tokens": text},
            }
            stream.event(Event(kind, number, number, text, text, data, text, text))
            stream.event(Event(kind, number, number, text, text, data, "0", text))
        for severity in (text, "stop"):
            evidence = {text: text, "channel": "text", "stream_id": "0", "unit": text}
            stream.finding(Finding(text, severity, 0, 0, 1, 5, text, evidence))  # type: ignore[arg-type]
            stream.finding(
                Finding(text, "warn", 0, 0, 0, 9, text, {"channel": text, "stream_id": text})
            )
        stream.verdict(text, text)
        stream.verdict(text, "violated")
        stream.regime(text, attractor=text, points=[(1.0, 2.0)])
        stream.close(text, text)


#: Elements and attributes that the page never makes, and what would have run.
LOOK = """
const ours = (one) => one.closest("head") || one.id === "login"
  || one.getAttribute("method") === "dialog"
  || (one.tagName === "IMG" && one.getAttribute("src") === "/assets/icon.svg")
  || (one.tagName === "A" && one.getAttribute("href") === "#stream");
const foreign = [...document.querySelectorAll(
  "script, iframe, object, embed, img, a, style, link, meta, form, svg, video, audio, base, " +
  "template"
)].filter((one) => !ours(one));
// Where text may stand in attributes: it is shown, or looked up, and never followed.
const texts = /^(title|value|aria-label|data-(key|outcome|verdict|severity|kind|regime))$/;
const attributes = [...document.querySelectorAll("*")].flatMap((one) => [...one.attributes]);
const handlers = attributes.filter((one) =>
  /^on/i.test(one.name) || (/javascript:/i.test(one.value) && !texts.test(one.name)));
const hidden =
  /[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u202a-\\u202e\\u2066-\\u2069\\u200e\\u200f]/;
const holds = (one) =>
  [...one.childNodes].some((node) => node.nodeType === 3 && hidden.test(node.data));
const controls = [...document.querySelectorAll("body *")].filter(holds);
return {
  ran: window.ran ?? null,
  foreign: foreign.map((one) => one.outerHTML.slice(0, 200)),
  handlers: handlers.map((one) => `${one.name}=${one.value.slice(0, 100)}`),
  controls: controls.map((one) => one.id || one.className || one.tagName),
  head: [...document.head.children].length,
  proto: Object.prototype.verdict ?? null,
  href: location.href,
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
};
"""


async def look(browser: Chromium, heads: int, url: str) -> None:
    found = await browser.run(LOOK)
    assert found == {
        "ran": None,
        "foreign": [],
        "handlers": [],
        "controls": [],
        "head": heads,
        "proto": None,
        "href": url,
        "wide": 0,
    }


async def test_no_text_of_a_stream_is_markup(browser: Chromium) -> None:
    feed = Feed(frames_per_s=50)
    async with asyncio.timeout(55), Dashboard(feed) as page:
        await opened(browser, page)
        heads = await browser.value("document.head.children.length")
        # While it looks on, and as a snapshot.
        for _ in range(2):
            attack(feed, (*HOSTILE, ALL))
            n_streams = len(feed.snapshot().fields["streams"])
            await browser.until(
                f"document.getElementById('list-count').textContent === '{n_streams} streams'"
            )
            for _ in range(len(HOSTILE) + 1):
                await press(browser, "j")
                if random.random() < 0.5:
                    await press(browser, "n", "t")
                await look(browser, heads, page.url)
            await browser.value("location.reload()")
            await browser.until("document.getElementById('link')?.dataset.state === 'open'")
            await look(browser, heads, page.url)
        # What was said is there, as text.
        await browser.run(
            "document.getElementById('search').value = 'onerror=window';"
            "document.getElementById('search').dispatchEvent(new Event('input'));"
            "await new Promise((done) => setTimeout(done, 200));"
            "document.querySelector('#list .row').click();"
            "await new Promise((done) => setTimeout(done, 200));"
        )
        assert "<img src=x onerror=window.ran=2>" in await browser.value(
            "document.getElementById('text').textContent"
        )
        await no_complaints(browser)


async def test_no_text_of_a_recording_is_markup(browser: Chromium, tmp_path: Path) -> None:
    name = "hostile.jsonl"
    with Recorder(tmp_path / name, source=ALL) as recorder:
        for number, text in enumerate((*HOSTILE[:-1], ALL, "w" * 10_000)):
            for kind in KINDS:
                recorder.write(
                    Event(kind, number, number * 10**8, text, text, {"x": text}, "0", text)
                )
            recorder.write_finding(
                Finding(text, "stop", number, 0, 0, 5, text, {text: text, "channel": "text"})
            )
        recorder.settle("failed", ALL)
    async with asyncio.timeout(55), Dashboard(Feed(), recordings=tmp_path) as page:
        await opened(browser, page)
        heads = await browser.value("document.head.children.length")
        await press(browser, "r")
        await browser.until("document.querySelectorAll('#list .row').length === 1")
        await press(browser, "j")
        await browser.until("!document.getElementById('player').hidden")
        for keys in (",", ",", "p", "p", "n", "t", "t", "t", "t"):
            await press(browser, keys)
            await look(browser, heads, page.url)
        await no_complaints(browser)


async def test_the_page_keeps_the_same_state_as_the_feed(browser: Chromium) -> None:
    rng = random.Random(7)
    words = ["tea ", "😀", "a" * 40, "é ", "\U0001f469\u200d", "x. ", "__proto__"]
    feed = Feed(max_text_chars=64, max_total_chars=4096, max_streams=5)
    frames = [feed.snapshot().data.decode()]
    streams = []
    for step in range(400):
        if step % 40 == 0:
            streams.append(feed.open(rng.choice(words)))
        stream = rng.choice(streams[-5:])
        kind = rng.choice(KINDS)
        stream.event(Event(kind, step, step, rng.choice(words), None, None, str(rng.randrange(3))))
        if step % 11 == 0:
            stream.verdict(rng.choice(words), rng.choice(["holds", "owed"]))
            stream.finding(Finding("loop", "warn", step, 0, 0, 5, rng.choice(words), {}))
        if step % 50 == 49:
            stream.close()
        if step % 3 == 0:
            frame = feed.flush(figures=step % 2 == 0)
            if frame is not None:
                frames.append(frame.data.decode())
    newest = json.loads(feed.snapshot().data)
    last = feed.subscribe(after=json.loads(frames[-1])["id"]).poll()
    if last is not None:
        frames.append(last.data.decode())
    async with asyncio.timeout(40), Dashboard(Feed(), transport=False) as page:
        await opened(browser, page, "server-sent events")
        found = await browser.run(
            """
            const { apply } = await import("/assets/state.js");
            let state = null;
            for (const frame of args[0]) state = apply(state, JSON.parse(frame));
            return JSON.stringify(state);
            """,
            frames,
        )
        assert not found.startswith("failed"), found
        assert json.loads(found) == newest


async def test_a_stream_as_it_goes_and_keys(browser: Chromium) -> None:
    feed = Feed(frames_per_s=50)
    first = feed.open("first", labels={"model": "m"})
    async with asyncio.timeout(55), Dashboard(feed) as page:
        await opened(browser, page)
        await browser.until("document.getElementById('name').textContent === 'first'")
        first.event(Event("text", 0, 0, "Grüße 😀 an alle. And on and on and on.", None, None, "0"))
        evidence = {"channel": "text", "stream_id": "0", "period": 2}
        first.finding(Finding("loop", "warn", 1, 1, 17, 38, "repeats", evidence))
        first.finding(Finding("drift", "stop", 1, 1, 0, 5, "elsewhere", evidence))
        first.event(Event("reasoning", 2, 2, "Let me think.", None, None, "0"))
        first.verdict("no drops", "holds")
        await browser.until("document.querySelectorAll('#text mark').length === 2")
        marks = await browser.value(
            "[...document.querySelectorAll('#text mark')]"
            ".map((mark) => [mark.dataset.severity, mark.textContent])"
        )
        assert marks == [["stop", "Grüße"], ["warn", "And on and on and on."]]
        # What comes is put behind, and what is marked stays.
        first.event(Event("text", 3, 3, " More.", None, None, "0"))
        await browser.until("document.getElementById('text').textContent.endsWith(' More.')")
        # By severity, and by kind.
        await browser.run(
            "const s = document.getElementById('finding-severity'); s.value = 'stop';"
            "s.dispatchEvent(new Event('change'));"
        )
        await browser.until("document.querySelectorAll('#text mark').length === 1")
        assert await browser.value("document.querySelectorAll('#findings button').length") == 1
        await browser.run(
            "const s = document.getElementById('finding-severity'); s.value = '';"
            "s.dispatchEvent(new Event('change'));"
        )
        # Keys: the next finding, the next text, streams, search, help.
        await press(browser, "n")
        await browser.until("document.querySelectorAll('#text mark.current').length === 1")
        assert await browser.value("document.querySelector('mark.current').textContent[0]") == "A"
        assert await browser.value(
            "document.querySelector('#findings [aria-current]').textContent.includes('repeats')"
        )
        await press(browser, "t")
        await browser.until("document.getElementById('text').textContent === 'Let me think.'")
        second = feed.open("second")
        second.event(Event("text", 0, 0, "Other."))
        await browser.until("document.querySelectorAll('#list .row').length === 2")
        await press(browser, "k")
        await browser.until("document.getElementById('name').textContent === 'second'")
        chosen = await browser.value(
            "document.getElementById(document.getElementById('list')"
            ".getAttribute('aria-activedescendant')).getAttribute('aria-selected')"
        )
        assert chosen == "true"
        await press(browser, "j")
        await browser.until("document.getElementById('name').textContent === 'first'")
        await press(browser, "/", "second")
        await browser.until(
            "document.getElementById('list-count').textContent === '1 of 2 streams'"
        )
        await press(browser, "\ue00c")  # Escape leaves the field, and keys are keys again
        await press(browser, "?")
        assert await browser.value("document.getElementById('help').open")
        await press(browser, "\ue00c")
        assert not await browser.value("document.getElementById('help').open")
        # The focus goes from the link over it all, and can be seen.
        await browser.value("document.activeElement.blur()")
        order = []
        for _ in range(9):
            await press(browser, "\ue004")
            order.append(
                await browser.value("document.activeElement.id || document.activeElement.className")
            )
        assert order[0] == "skip"
        assert [one for one in order if one in ("search", "filter", "sort", "list")] == [
            "search",
            "filter",
            "sort",
            "list",
        ]
        outline = await browser.value("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"
        # Colours.
        for wanted in ("light", "dark", "auto"):
            await press(browser, "d")
            assert await browser.value("document.documentElement.dataset.theme") == wanted
        # Every control has a name, and every panel a heading.
        nameless = await browser.value(
            "[...document.querySelectorAll('button, input, select, canvas, [role]')]"
            ".filter((one) => !(one.textContent.trim() || one.getAttribute('aria-label')"
            " || one.labels?.length"
            " || one.getAttribute('aria-labelledby') || one.role === 'presentation'"
            " || ['status', 'alert'].includes(one.role))).map((one) => one.outerHTML)"
        )
        assert nameless == []
        await no_complaints(browser)


async def test_of_a_long_text_the_end_is_laid_out_until_one_stays(browser: Chromium) -> None:
    feed = Feed(frames_per_s=50)
    stream = feed.open("one")
    said = " ".join(f"{number} 😀" for number in range(2000))
    async with asyncio.timeout(40), Dashboard(feed) as page:
        await opened(browser, page)
        for at in range(0, len(said), 100):
            stream.event(Event("text", at, at, said[at : at + 100], None, None, "0"))
            feed.flush()
        evidence = {"channel": "text", "stream_id": "0"}
        stream.finding(Finding("loop", "warn", 1, 1, 10, 20, "early", evidence))
        text = "document.getElementById('text').textContent"
        await browser.until(f"{text}.endsWith('1999 😀')")
        followed = await browser.value(text)
        assert len(followed) < 9000
        assert said.endswith(followed.partition("\n")[2])
        await browser.until("document.querySelectorAll('#findings button').length === 1")
        assert await browser.value("document.querySelectorAll('#text mark').length") == 0
        await press(browser, "f")
        assert await browser.value(text) == said
        mark = await browser.value("document.querySelector('#text mark').textContent")
        assert mark == said[10:20]
        # From there one goes to the finding; and back to the end.
        await press(browser, "n")
        assert await browser.value("document.getElementById('text').scrollTop") == 0
        await press(browser, "f")
        stream.event(Event("text", 1, 1, " and more", None, None, "0"))
        await browser.until(f"{text}.endsWith(' and more')")
        assert len(await browser.value(text)) < 9000
        stream.close()
        await browser.until(f"{text} === {json.dumps(said + ' and more')}")
        await no_complaints(browser)


async def test_a_long_text_without_lines_is_laid_out_in_blocks(
    browser: Chromium, tmp_path: Path
) -> None:
    said = "word " * 60_000 + "\n" + "w" * 30_000 + "😀" * 6000 + " end"
    with Recorder(tmp_path / "long.jsonl") as recorder:
        recorder.write(Event("text", 0, 0, said, None, None, "0"))
        recorder.write(Event("end", 1, 1, "stop", None, None, "0"))
        evidence = {"channel": "text", "stream_id": "0"}
        recorder.write_finding(Finding("loop", "warn", 0, 0, 3_990, 30_000, "early", evidence))
    async with asyncio.timeout(55), Dashboard(Feed(), recordings=tmp_path) as page:
        await opened(browser, page)
        await press(browser, "r")
        await browser.until("document.querySelectorAll('#list .row').length === 1")
        await press(browser, "j")
        text = "document.getElementById('text')"
        await browser.until(f"{text}.textContent === {json.dumps(said)}")
        look = f"""
        const blocks = [...{text}.children].map((block) => block.textContent.length);
        const marks = [...{text}.querySelectorAll("mark")];
        return [blocks.length > 40, Math.max(...blocks) <= 8000,
                marks.map((mark) => mark.textContent).join(""),
                marks.every((mark) => mark.dataset.n === marks[0].dataset.n)];
        """
        assert await browser.run(look) == [True, True, said[3_990:30_000], True]
        await press(browser, "n")
        await no_complaints(browser)


async def test_a_thousand_streams(browser: Chromium) -> None:
    feed = Feed(frames_per_s=20)
    for number in range(1000):
        stream = feed.open(f"stream {number}", labels={"model": f"m{number % 3}"})
        stream.event(Event("text", 0, 0, f"text of {number}"))
        if number % 2:
            stream.close("stopped" if number % 10 == 1 else "ended")
    async with asyncio.timeout(40), Dashboard(feed) as page:
        await opened(browser, page)
        await browser.until("document.getElementById('list-count').textContent === '1,000 streams'")
        assert await browser.value("document.querySelectorAll('#list .row').length") < 60
        await browser.run(
            "document.getElementById('filter').value = 'stopped';"
            "document.getElementById('filter').dispatchEvent(new Event('input'));"
        )
        await browser.until(
            "document.getElementById('list-count').textContent === '100 of 1,000 streams'"
        )
        await browser.run("document.getElementById('list').focus()")
        await press(browser, "\ue010")  # End
        await browser.until("document.getElementById('name').textContent === 'stream 1'")


async def test_long_names_show_their_ends_and_one_is_no_plural(browser: Chromium) -> None:
    feed = Feed(frames_per_s=20)
    ids = [f"20261129T170008-{number:016x}" for number in (7, 11)]
    feed.open(ids[0])
    look = """
    return [...document.querySelectorAll("#list .name")].map((name) => {
      const [head, tail] = name.children, room = name.getBoundingClientRect();
      const place = tail.getBoundingClientRect();
      return [name.textContent, head.scrollWidth > head.clientWidth,
              place.width > 40 && place.right <= room.right + 1];
    });
    """
    async with asyncio.timeout(40), Dashboard(feed) as page:
        await opened(browser, page)
        await browser.until("document.getElementById('list-count').textContent === '1 stream'")
        feed.open(ids[1])
        await browser.until("document.querySelectorAll('#list .row').length === 2")
        assert await browser.run(look) == [[name, True, True] for name in ids]


async def test_a_recording_is_played(browser: Chromium, tmp_path: Path) -> None:
    shutil.copy(shipped_recordings()["loop-02"], tmp_path / "loop-02.jsonl")
    async with asyncio.timeout(50), Dashboard(Feed(), recordings=tmp_path) as page:
        await opened(browser, page)
        await press(browser, "r")
        await browser.until("document.querySelectorAll('#list .row').length === 1")
        await press(browser, "j")
        await browser.until("!document.getElementById('player').hidden")
        position = "document.getElementById('position').textContent"
        text = "document.getElementById('text').textContent"
        await browser.until(f"{position}.endsWith('event 601 of 601')")
        whole = await browser.value(text)
        assert whole.startswith(" Once upon a time")
        await press(browser, "\ue011")  # Home
        await browser.until(f"{position}.endsWith('event 0 of 601')")
        await press(browser, ".", ".", ".")
        await browser.until(f"{position}.endsWith('event 3 of 601')")
        await browser.until(f"{text} === ' Once upon a'")
        await press(browser, ",")
        await browser.until(f"{text} === ' Once upon'")
        await press(browser, "n", "n")
        await browser.until("document.querySelectorAll('#findings button').length === 2")
        stopped_at = await browser.value(position)
        assert "event 601" not in stopped_at
        assert await browser.value("document.querySelectorAll('mark.current').length") > 0
        await press(browser, "p")
        await browser.until("document.querySelectorAll('#findings button').length === 1")
        await browser.run(
            "const s = document.getElementById('scrub'); s.value = Number(s.max) / 2;"
            "s.dispatchEvent(new Event('input'));"
        )
        await browser.until(f"{position}.startsWith('0.9 s')")
        half = await browser.value(text)
        assert whole.startswith(half)
        assert 0 < len(half) < len(whole)
        await press(browser, "+", " ")
        await browser.until(f"{position}.endsWith('event 601 of 601')")
        assert await browser.value(text) == whole
        await press(browser, "l")
        await browser.until("document.getElementById('player').hidden")
        await no_complaints(browser)


async def test_the_token_of_the_address_and_the_form(browser: Chromium) -> None:
    token = "correct horse battery staple"
    feed = Feed()
    feed.open("secret")
    async with asyncio.timeout(50), Dashboard(feed, token=token) as page:
        plain = page.url.partition("#")[0]
        await browser.open(plain)
        await browser.until("!document.getElementById('login').hidden")
        assert "secret" not in await browser.value(
            "document.body.textContent.slice(0, 0) + document.getElementById('list').textContent"
        )
        await press(browser, "wrong wrong wrong wrong", "\ue007")
        await browser.until("document.getElementById('login-problem').textContent !== ''")
        await browser.run("document.getElementById('token').value = ''")
        await press(browser, token, "\ue007")
        await browser.until("document.getElementById('link').dataset.state === 'open'")
        await browser.until("document.getElementById('name').textContent === 'secret'")
        # No script can read the cookie, and the button ends the session.
        assert await browser.value("document.cookie") == ""
        await browser.run("document.getElementById('logout').click()")
        await browser.until("document.getElementById('login')?.hidden === false")
        # By the address, from which the token then goes.
        await browser.open("about:blank")
        await browser.open(page.url)
        await browser.until("document.getElementById('link').dataset.state === 'open'")
        assert await browser.value("location.href") == plain


@pytest.mark.parametrize("how", ["WebTransport", "server-sent events"])
async def test_a_break_is_mended_without_loss(browser: Chromium, how: str) -> None:
    feed = Feed(frames_per_s=50)
    stream = feed.open("one")
    transport = how == "WebTransport"
    async with asyncio.timeout(50):
        async with Dashboard(feed, transport=transport) as page:
            port = page.address[1]
            await opened(browser, page, how)
            stream.event(Event("text", 0, 0, "before, "))
            await browser.until("document.getElementById('text').textContent === 'before, '")
        await browser.until("document.getElementById('link').dataset.state !== 'open'")
        stream.event(Event("text", 1, 1, "meanwhile, "))
        feed.flush()
        async with Dashboard(feed, port=port, transport=transport):
            await browser.until("document.getElementById('link').dataset.state === 'open'")
            stream.event(Event("text", 2, 2, "after"))
            await browser.until(
                "document.getElementById('text').textContent === 'before, meanwhile, after'"
            )
            said = await browser.value("document.getElementById('link').textContent")
            assert said == f"Live over {how}"
            feed.close()
            await browser.until("document.getElementById('link').dataset.state === 'over'")


async def test_narrow_and_wide_windows_and_less_motion(browser: Chromium) -> None:
    feed = Feed()
    attack(feed, HOSTILE[:4])
    async with asyncio.timeout(50), Dashboard(feed) as page:
        await opened(browser, page)
        for width, height in ((360, 700), (700, 900), (1000, 700), (1500, 950)):
            await asyncio.to_thread(browser._driver.set_window_size, width, height)
            await asyncio.sleep(0.3)
            wide = await browser.value(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert wide == 0, (width, height)
        feature = {"name": "prefers-reduced-motion", "value": "reduce"}
        await asyncio.to_thread(
            browser._driver.execute_cdp_cmd, "Emulation.setEmulatedMedia", {"features": [feature]}
        )
        assert (
            await browser.value(
                "document.getAnimations().filter((one) => one.playState === 'running').length"
            )
            == 0
        )


async def test_what_axe_says_of_the_page(browser: Chromium, tmp_path: Path) -> None:
    axe = pytest.importorskip(
        "axe_core_python", reason="axe-core-python, which checks accessibility, is not installed"
    )
    rules = (Path(axe.__file__).parent / "axe.min.js").read_text("utf-8")
    shutil.copy(shipped_recordings()["loop-02"], tmp_path / "loop-02.jsonl")
    feed = Feed()
    attack(feed, HOSTILE[:2])
    stream = feed.open("a tale", labels={"model": "m"})
    stream.event(Event("text", 0, 0, "On and on and on and on. " * 20, None, None, "0"))
    stream.event(Event("audio", 1, 1, "Said.", None, {"level_dbfs": -20.0}, "0"))
    for number, severity in enumerate(("note", "warn", "block", "stop")):
        at = 30 * number
        evidence = {"channel": "text", "stream_id": "0"}
        stream.finding(Finding("loop", severity, 1, 1, at, at + 20, "again", evidence))  # type: ignore[arg-type]
        stream.verdict(f"rule {number}", ("holds", "owed", "violated", "satisfied")[number])
    look = """
    if (!window.axe) (0, eval)(args[0]);
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    return violations.map((one) =>
      `${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
    """
    async with asyncio.timeout(55), Dashboard(feed, recordings=tmp_path) as page:
        # The page forbids what the rules do; the browser is told to let them.
        await asyncio.to_thread(
            browser._driver.execute_cdp_cmd, "Page.setBypassCSP", {"enabled": True}
        )
        await opened(browser, page)
        await browser.until("document.querySelectorAll('#text mark').length === 4")
        for dark in (False, True):
            await browser.dark(dark)
            assert await browser.run(look, rules) == []
        await press(browser, "?")
        assert await browser.run(look, rules) == []
        await press(browser, "\ue00c", "r")
        await browser.until("document.querySelectorAll('#list .row').length === 1")
        await press(browser, "j")
        await browser.until("!document.getElementById('player').hidden")
        assert await browser.run(look, rules) == []
