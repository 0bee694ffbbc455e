"""A playlist of a public host leads to no private address, whatever its names turn out to be."""

from __future__ import annotations

import asyncio

import httpcore2
import httpx2
import pytest
from stream.server import Server

from midstream.errors import EndpointError, IdleTimeoutError, MalformedStreamError
from midstream.stream.media import MediaLimits
from midstream.stream.media.fetching import HttpFetcher
from midstream.stream.media.reaching import PrivateAddressError, Reach, is_private, make_client

PUBLIC = "93.184.215.14"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def names(**known):
    """A resolver of `known` names, a list of addresses for each answer, and what was asked."""

    async def resolve(host, port):
        asked.append(host)
        answers = known[host.rstrip(".").lower().replace(".", "_")]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(found, OSError):
            raise found
        return list(found)

    asked = []
    return resolve, asked


async def hello(exchange):
    await exchange.head("200 OK", "Content-Length: 2")
    await exchange.send(b"ok")


def port_of(server):
    return int(server.url.rpartition(":")[2])


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1", "::",
     "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "2002:7f00:1::"],
)  # fmt: skip
def test_private(address):
    assert is_private(address)


def test_public():
    assert not is_private(PUBLIC)
    assert not is_private("2606:2800:21f:cb07:6820:80da:af6b:8b2c")
    with pytest.raises(ValueError, match="does not appear to be"):
        is_private("example.org")


async def test_a_name_that_leads_within():
    async with Server(hello) as server:
        port = port_of(server)
        resolve, asked = names(evil_example=[["127.0.0.1"]], own_example=[[PUBLIC]])
        reach = Reach("own.example", within=False, resolver=resolve)
        with pytest.raises(PrivateAddressError):
            await reach.connect_tcp("evil.example", port, 5)
        assert asked == ["evil.example"]
        assert server.exchanges == []


async def test_an_own_name_that_changes_its_mind():
    # The presentation's host was public; its later answers must not lead within.
    resolve, _ = names(own_example=[[PUBLIC], ["127.0.0.1"]])
    reach = Reach("own.example", within=False, resolver=resolve)
    assert await reach._allowed("own.example", 80) == [PUBLIC]
    with pytest.raises(PrivateAddressError):
        await reach.connect_tcp("OWN.example.", 80, 5)
    assert not reach.within


async def test_only_public_ones_of_several():
    resolve, _ = names(own_example=[["127.0.0.1", PUBLIC, "10.0.0.1"]])
    reach = Reach("own.example", within=False, resolver=resolve)
    assert await reach._allowed("own.example", 80) == [PUBLIC]
    assert not reach.within


async def test_a_presentation_of_a_private_network():
    async with Server(hello) as server:
        port = port_of(server)
        resolve, _ = names(own_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])
        reach = Reach("own.example", within=False, resolver=resolve)
        async with make_client(reach) as client:
            answer = await client.get(f"http://own.example:{port}/")
            assert (answer.text, reach.within) == ("ok", True)
            assert (await client.get(f"http://other.example:{port}/")).text == "ok"
        assert server.exchanges[0].headers["host"] == f"own.example:{port}"


async def test_the_next_address_is_tried():
    async with Server(hello) as server:
        port = port_of(server)
        resolve, _ = names(own_example=[["127.0.0.2", "127.0.0.1"]])
        reach = Reach("own.example", within=True, resolver=resolve)
        async with make_client(reach) as client:
            assert (await client.get(f"http://own.example:{port}/")).text == "ok"


async def test_names_that_cannot_be_resolved():
    async def slow(host, port):
        await asyncio.sleep(60)

    resolve, _ = names(own_example=[OSError("no such name"), []])
    reach = Reach("own.example", within=False, resolver=resolve)
    with pytest.raises(httpcore2.ConnectError, match="no such name"):
        await reach.connect_tcp("own.example", 80, 5)
    with pytest.raises(httpcore2.ConnectError, match="no address"):
        await reach.connect_tcp("own.example", 80, 5)
    with pytest.raises(httpcore2.ConnectTimeout):
        await Reach("a", within=False, resolver=slow).connect_tcp("a", 80, 0.01)


async def test_in_the_fetcher(monkeypatch):
    async with Server(hello) as server:
        port = port_of(server)
        resolve, _ = names(evil_example=[["127.0.0.1"]], gone_example=[OSError("no such name")])
        monkeypatch.setattr(Reach.__init__, "__kwdefaults__", {"resolver": resolve})
        fetcher = HttpFetcher("http://own.example/x.m3u8", MediaLimits())
        with pytest.raises(MalformedStreamError, match=r"by the address of 'evil\.example'"):
            await fetcher.get(f"http://evil.example:{port}/secret", max_bytes=100)
        with pytest.raises(EndpointError, match="no such name") as raised:
            await fetcher.get(f"http://gone.example:{port}/", max_bytes=100)
        assert not isinstance(raised.value, IdleTimeoutError)
        await fetcher.aclose()
        assert server.exchanges == []


async def test_a_proxy_resolves(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    resolve, asked = names()
    async with make_client(Reach("a", within=False, resolver=resolve)) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get("http://evil.example/")
    assert asked == []
