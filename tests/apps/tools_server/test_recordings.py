"""`search_recordings`, and recordings and rules as resources: pages, escapes, secrets."""

from __future__ import annotations

import asyncio
import json
import shutil

import pytest
from apps.tools_server.clients import (
    AWS,
    MODES,
    SECRET,
    ask,
    connected,
    read,
    refused,
    shipped,
    with_secrets,
)
from mcp.shared.exceptions import MCPError

from midstream.apps.tools_server import ToolLimits
from midstream.stream import (
    Event,
    Library,
    RecordingsFolder,
    ready_rules,
    redact,
    shipped_recordings,
)
from midstream.stream.policies import ready_text


def many(path, n):
    """So many recordings."""
    source = shipped_recordings()["loop-02"]
    for k in range(n):
        shutil.copy(source, path / f"run-{k:04}.jsonl")
    return path


async def test_recordings_are_searched(tmp_path):
    async with connected(recordings=shipped(tmp_path)) as client:
        found = await ask(client, "search_recordings", text="grandma smiled")
        (hit,) = found["hits"]
        assert hit["entry"]["name"] == "loop-02.jsonl"
        assert hit["uri"] == "midstream://recordings/loop-02.jsonl"
        assert "[Grandma] [smiled]" in hit["snippet"]
        assert (found["indexed"], found["next_offset"], found["failed"]) == (3, None, [])
        assert (await ask(client, "search_recordings", text="nobody wrote this"))["hits"] == []
        first = await ask(client, "search_recordings", limit=2)
        rest = await ask(client, "search_recordings", limit=2, offset=first["next_offset"])
        names = [hit["entry"]["name"] for hit in first["hits"] + rest["hits"]]
        assert sorted(names) == ["healthy-03.jsonl", "loop-02.jsonl", "loop-04.jsonl"]
        assert rest["next_offset"] is None
        # What comes later is found too.
        shutil.copy(shipped_recordings()["loop-04"], tmp_path / "new.jsonl")
        assert (await ask(client, "search_recordings"))["indexed"] == 4


async def test_findings_tools_and_times_are_searched(tmp_path):
    folder = RecordingsFolder(tmp_path)
    with folder.recorder("a.jsonl") as recorder:
        recorder.write(Event("tool_call", 0, 0, "{}", "delete", None, "0/0", "c1"))
        recorder.settle("stopped")
    async with connected(recordings=tmp_path) as client:
        assert len((await ask(client, "search_recordings", tool="delete"))["hits"]) == 1
        assert (await ask(client, "search_recordings", tool="drop"))["hits"] == []
        assert len((await ask(client, "search_recordings", outcome="stopped"))["hits"]) == 1
        assert (await ask(client, "search_recordings", kind="loop"))["hits"] == []
        assert (await ask(client, "search_recordings", after="2999-01-01"))["hits"] == []
        assert len((await ask(client, "search_recordings", before="2999-01-01"))["hits"]) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"limit": 0}, "limit: "),
        ({"limit": 101}, "limit: "),
        ({"after": "yesterday"}, "after must be a time in ISO 8601, got 'yesterday'"),
        ({"severity": "awful"}, "severity: "),
        ({"text": "x" * 1001}, "text: "),
        ({"min_duration_s": -1}, "min_duration_s: "),
        ({"order": "random"}, "order: "),
        ({"query": "x"}, "query is no argument"),
    ],
)
async def test_what_cannot_be_searched_is_said(arguments, said, tmp_path):
    async with connected(recordings=tmp_path) as client:
        assert said in await refused(client, "search_recordings", **arguments)


async def test_hostile_words_are_words(tmp_path):
    async with connected(recordings=shipped(tmp_path)) as client:
        for text in ('" OR 1=1 --', "NEAR(a b)", "text:*", '"', "\0", "'; DROP TABLE recordings"):
            await ask(client, "search_recordings", text=text)
        assert (await ask(client, "search_recordings"))["indexed"] == 3


async def test_without_a_folder_there_is_none():
    async with connected() as client:
        said = await refused(client, "search_recordings")
        assert said == "there are no recordings: the server was started without --recordings"
        uris = [one.uri for one in (await client.list_resources()).resources]
        assert "midstream://recordings" not in uris
        with pytest.raises(MCPError, match="no recordings"):
            await client.read_resource("midstream://recordings")
        names = [prompt.name for prompt in (await client.list_prompts()).prompts]
        assert names == ["write_rule"]


@pytest.mark.parametrize("mode", MODES)
async def test_recordings_are_read_in_pages(mode, tmp_path):
    folder = RecordingsFolder(tmp_path)
    with folder.recorder("talk.jsonl", source="here") as recorder:
        for k in range(90):
            recorder.write(
                Event(
                    "tool_call", 2 * k, k * 10**6, f'{{"k": {k}}}', "look", None, f"0/{k}", f"c{k}"
                )
            )
            recorder.write(
                Event("tool_result", 2 * k + 1, k * 10**6, "fine", "look", None, f"0/{k}", f"c{k}")
            )
        recorder.settle("ended")
    async with connected(mode=mode, recordings=tmp_path) as client:
        whole = []
        uri = "midstream://recordings/talk.jsonl?limit=50"
        while uri is not None:
            page = await read(client, uri)
            assert page["n_pieces"] == 180
            whole += page["pieces"]
            uri = page["next"]
        assert [piece["first_seq"] for piece in whole] == list(range(180))
        assert whole[2]["text"] == '{"k": 1}'
        assert (page["outcome"], page["complete"], page["source"]) == ("ended", True, "here")
        assert (await read(client, "midstream://recordings/talk.jsonl?offset=500"))["pieces"] == []


async def test_pieces_of_one_text_are_joined(tmp_path):
    async with connected(recordings=shipped(tmp_path)) as client:
        page = await read(client, "midstream://recordings/loop-02.jsonl")
    assert page["events"] == 601
    assert page["pieces"][0]["text"].startswith(" Once upon a")
    assert len(page["pieces"]) < 5
    # Nothing was found when it was recorded, so it is looked at now.
    assert page["findings"][0]["kind"] == "loop"
    assert page["findings"][0]["seq"] == 227


async def test_long_texts_are_cut_into_pieces_and_pages(tmp_path):
    folder = RecordingsFolder(tmp_path)
    with folder.recorder("long.jsonl") as recorder:
        recorder.write(Event("text", 0, 0, "word " * 10_000))
        recorder.settle("ended")
    limits = ToolLimits(max_page_chars=10_000)
    async with connected(recordings=tmp_path, limits=limits) as client:
        text, uri = "", "midstream://recordings/long.jsonl"
        while uri is not None:
            page = await read(client, uri)
            assert sum(len(piece["text"]) for piece in page["pieces"]) <= 10_000
            text += "".join(piece["text"] for piece in page["pieces"])
            uri = page["next"]
    assert text == "word " * 10_000


async def test_the_list_comes_in_pages(tmp_path):
    many(tmp_path, 230)
    async with connected(recordings=tmp_path) as client:
        names, cursor = [], None
        while True:
            listed = await client.list_resources(cursor=cursor)
            names += [one.name for one in listed.resources if one.name.endswith(".jsonl")]
            assert len(listed.resources) <= 100 + 2 + len(ready_rules())
            cursor = listed.next_cursor
            if cursor is None:
                break
        assert sorted(names) == [f"run-{k:04}.jsonl" for k in range(230)]
        page = await read(client, "midstream://recordings?offset=228&limit=5")
        assert len(page["recordings"]) == 2
        assert page["next"] is None
        for cursor in ("x", "-1", "9" * 20):
            with pytest.raises(MCPError, match="cursor"):
                await client.list_resources(cursor=cursor)


@pytest.mark.parametrize(
    "name",
    [
        "..%2Fsecret.jsonl",
        "%2E%2E%2Fsecret.jsonl",
        "..%5Csecret.jsonl",
        "../secret.jsonl",
        "%2Fetc%2Fpasswd",
        "secret.jsonl%00",
        "link.jsonl",
        "index.sqlite3",
        "CON.jsonl",
        "%ff.jsonl",
        "a" * 3000,
    ],
)
async def test_no_name_leads_out_of_the_folder(name, tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    secret = tmp_path / "secret.jsonl"
    shutil.copy(shipped_recordings()["loop-02"], secret)
    (folder / "link.jsonl").symlink_to(secret)
    async with connected(recordings=folder) as client:
        with pytest.raises(MCPError) as refusal:
            await client.read_resource(f"midstream://recordings/{name}")
        assert str(tmp_path) not in refusal.value.error.message
        uris = [one.uri for one in (await client.list_resources()).resources]
        assert not any("link" in uri for uri in uris)


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd",
        "midstream://",
        "midstream://nothing",
        "midstream://rules/nope",
        "midstream://rules/..%2Frules",
        "midstream://rules?limit=1",
        "midstream://recordings?limit=0",
        "midstream://recordings?limit=1001",
        "midstream://recordings?offset=-1",
        "midstream://recordings?page=1",
        "midstream://recordings?" + "&".join(["limit=1"] * 50),
        "midstream://recordings/loop-02.jsonl#x",
    ],
)
async def test_other_resources_do_not_exist(uri, tmp_path):
    async with connected(recordings=shipped(tmp_path)) as client:
        with pytest.raises(MCPError):
            await client.read_resource(uri)


async def test_rules_are_resources():
    async with connected() as client:
        listed = await read(client, "midstream://rules")
        assert [rule["name"] for rule in listed["rules"]] == list(ready_rules())
        (content,) = (await client.read_resource("midstream://rules/no-secret")).contents
        assert content.text == ready_text("no-secret")
        assert content.mime_type == "application/toml"
        templates = (await client.list_resource_templates()).resource_templates
        assert [one.uri_template for one in templates] == ["midstream://rules/{name}"]


async def test_secrets_are_not_shown(tmp_path):
    async with connected(recordings=with_secrets(tmp_path)) as client:
        page = await read(client, "midstream://recordings/leak.jsonl")
        text = json.dumps(page)
        assert SECRET not in text
        assert AWS not in text
        assert "[redacted:" in text
        assert "and that was the unicorn" in text
        for words in ("unicorn", "deployed with", "AKIA*", "sk proj", "key"):
            result = await client.call_tool("search_recordings", {"text": words})
            said = result.content[0].text.replace("[", "").replace("]", "")
            assert result.structured_content["hits"]
            assert AWS not in said
            for begin in range(0, len(SECRET) - 20, 10):
                assert SECRET[begin : begin + 20] not in said
    async with connected(recordings=tmp_path, reveal=True) as client:
        assert SECRET in json.dumps(await read(client, "midstream://recordings/leak.jsonl"))


@pytest.mark.parametrize("size", [1, 2, 5, 7, 40, 1000])
async def test_secrets_are_hidden_however_a_text_is_cut(size, tmp_path):
    text = f"a {AWS} b {SECRET}{AWS} c ann@example.org, 4111 1111 1111 1111. {AWS}"
    folder = RecordingsFolder(tmp_path)
    with folder.recorder("cut.jsonl") as recorder:
        for k in range(0, len(text), size):
            for kind in ("text", "reasoning"):  # which take turns
                recorder.write(Event(kind, recorder.next_seq, k * 1000, text[k : k + size]))
        recorder.settle("ended")
    async with connected(recordings=tmp_path) as client:
        pieces = []
        uri = "midstream://recordings/cut.jsonl"
        while uri is not None:
            page = await read(client, uri)
            pieces += page["pieces"]
            uri = page["next"]
    for kind in ("text", "reasoning"):
        shown = "".join(piece["text"] for piece in pieces if piece["kind"] == kind)
        assert shown == redact(text)


async def test_what_is_too_large_is_not_read(tmp_path):
    import gzip

    (tmp_path / "bomb.jsonl.gz").write_bytes(gzip.compress(b"{}\n" * 2_000_000))
    with_secrets(tmp_path)
    limits = ToolLimits(max_recording_bytes=1_000_000, max_recording_events=10)
    async with connected(recordings=tmp_path, limits=limits) as client:
        with pytest.raises(MCPError, match=r"bomb.jsonl.gz: larger than 1,000,000 bytes"):
            await client.read_resource("midstream://recordings/bomb.jsonl.gz")
        with pytest.raises(MCPError, match="more than 10 events"):
            await client.read_resource("midstream://recordings/leak.jsonl")


async def test_names_are_completed(tmp_path):
    from mcp_types import PromptReference, ResourceTemplateReference

    async with connected(recordings=shipped(tmp_path)) as client:
        prompt = PromptReference(type="ref/prompt", name="explain_loop")
        found = await client.complete(prompt, {"name": "recording", "value": "loop"})
        assert sorted(found.completion.values) == ["loop-02.jsonl", "loop-04.jsonl"]
        rule = ResourceTemplateReference(type="ref/resource", uri="midstream://rules/{name}")
        found = await client.complete(rule, {"name": "name", "value": "no-s"})
        assert found.completion.values == ["no-secret"]


async def test_prompts_have_their_arguments(tmp_path):
    async with connected(recordings=shipped(tmp_path)) as client:
        got = await client.get_prompt("explain_loop", {"recording": "loop-02.jsonl"})
        assert "midstream://recordings/loop-02.jsonl" in got.messages[0].content.text
        got = await client.get_prompt("write_rule", {"intent": "never {delete}"})
        assert "never {delete}" in got.messages[0].content.text
        for name, arguments, said in (
            ("explain_loop", {}, "recording is missing"),
            ("explain_loop", {"recording": "../x"}, "recording must be letters"),
            ("write_rule", {"intent": " "}, "intent is missing"),
            ("write_rule", {"intent": "x" * 10_001}, "10,000"),
            ("nothing", {}, "there is no prompt 'nothing'"),
        ):
            with pytest.raises(MCPError, match=said):
                await client.get_prompt(name, arguments)


async def test_progress_is_told(tmp_path):
    told = []

    async def progress(done, total, message):
        told.append((done, total, message))

    async with connected(recordings=many(tmp_path, 150)) as client:
        result = await client.call_tool("search_recordings", {}, progress_callback=progress)
        assert result.structured_content["indexed"] == 150
    assert told
    assert [done for done, _, _ in told] == sorted({done for done, _, _ in told})
    assert {(total, message) for _, total, message in told} == {(150, "recordings")}


@pytest.mark.parametrize("mode", MODES)
async def test_a_cancelled_search_ends(mode, tmp_path):
    begun = asyncio.Event()

    async def progress(done, total, message):
        begun.set()

    async with connected(mode=mode, recordings=many(tmp_path, 400)) as client:
        search = asyncio.ensure_future(
            client.call_tool("search_recordings", {}, progress_callback=progress)
        )
        await begun.wait()
        search.cancel()
        with pytest.raises(asyncio.CancelledError):
            await search
        while (await ask(client, "get_status"))["server"]["waiting"]:
            await asyncio.sleep(0.01)
        with Library(tmp_path) as library:
            assert len(library) < 400
        assert (await ask(client, "search_recordings", limit=1))["indexed"] == 400


async def test_who_listens_is_told_of_changes(tmp_path):
    limits = ToolLimits(poll_s=0.05)
    shipped(tmp_path)
    async with connected(recordings=tmp_path, limits=limits) as client:
        async with client.listen(
            resources_list_changed=True,
            resource_subscriptions=["midstream://recordings/loop-02.jsonl"],
        ) as events:
            told = []

            async def take():
                async for event in events:
                    told.append(event)
                    if len(told) == 2:
                        return

            taking = asyncio.ensure_future(take())
            await asyncio.sleep(0.3)
            (tmp_path / "loop-04.jsonl").unlink()
            while not told:
                await asyncio.sleep(0.02)
            with (tmp_path / "loop-02.jsonl").open("ab") as file:
                file.write(b"\n")
            await taking
        assert type(told[0]).__name__ == "ResourcesListChanged"
        assert told[1].uri == "midstream://recordings/loop-02.jsonl"


@pytest.mark.filterwarnings("ignore:resources/.*subscribe is removed")
async def test_clients_with_a_handshake_are_told_of_changes(tmp_path):
    from mcp import Client

    from midstream.apps.tools_server import ToolServer

    told = []

    async def message(said):
        told.append(type(said.root if hasattr(said, "root") else said).__name__)

    limits = ToolLimits(poll_s=0.05)
    tools = ToolServer(recordings=shipped(tmp_path), limits=limits)
    async with Client(tools.server, mode="legacy", message_handler=message) as client:
        await client.session.subscribe_resource("midstream://recordings")
        await asyncio.sleep(0.3)
        (tmp_path / "loop-04.jsonl").unlink()
        while "ResourceUpdatedNotification" not in told:
            await asyncio.sleep(0.02)
        await client.session.unsubscribe_resource("midstream://recordings")
        with pytest.raises(MCPError, match="no resource"):
            await client.session.subscribe_resource("file:///etc/passwd")
