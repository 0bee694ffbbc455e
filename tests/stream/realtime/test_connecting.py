"""URLs, keys and headers of an endpoint."""

from __future__ import annotations

import pytest

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream.realtime.connecting import Endpoint


@pytest.mark.parametrize(
    ("url", "model", "whole"),
    [
        (None, "gpt-realtime", "wss://api.openai.com/v1/realtime?model=gpt-realtime"),
        ("https://x.org", "a b", "wss://x.org/v1/realtime?model=a+b"),
        ("http://x.org:80/api/v1/", None, "ws://x.org:80/api/v1/realtime"),
        ("WSS://x.org/v1/realtime?model=old&x=1", "new", "wss://x.org/v1/realtime?x=1&model=new"),
        ("wss://x.org/v1/realtime/translations", None, "wss://x.org/v1/realtime/translations"),
        ("ws://[::1]:8080", None, "ws://[::1]:8080/v1/realtime"),
    ],
)
def test_urls_are_completed(url, model, whole):
    assert Endpoint(url, model, "sk-12345678").url == whole


def test_keys_come_from_the_environment_and_give_way_to_headers(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment \n")
    endpoint = Endpoint("wss://x.org")
    assert endpoint.headers == {"Authorization": "Bearer sk-environment"}
    assert endpoint.clean("no sk-environment\nhere") == "no [hidden] here"
    endpoint = Endpoint("wss://x.org", headers={"api-key": "azure-12345"}, beta=True)
    assert endpoint.headers == {"api-key": "azure-12345", "OpenAI-Beta": "realtime=v1"}
    assert endpoint.secrets == ["azure-12345", "azure-12345"]
    assert Endpoint("ws://127.0.0.1", api_key="").headers == {}
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ArgumentValueError, match="api_key is None"):
        Endpoint("wss://x.org")
    endpoint = Endpoint("wss://x.openai.azure.com/openai/v1/realtime?api-key=secret-in-query")
    assert "secret-in-query" in endpoint.url
    assert "secret" not in repr(endpoint) + endpoint.clean(f"GET {endpoint.url}")


@pytest.mark.parametrize(
    ("url", "headers", "words"),
    [
        ("", None, "must begin with"),
        ("wss://", None, "must begin with"),
        ("wss://x:99999999", None, "malformed"),
        ("wss://[x", None, "malformed"),
        (5, None, "must be str"),
        ("wss://x", {"a": 1}, "str to str, got str to int"),
        ("wss://x", {"": "b"}, "a name is empty"),
        ("wss://x", {"a": "b\r\nc: d"}, "cannot carry"),
        ("wss://x", [], "must be a mapping"),
    ],
)
def test_what_is_no_endpoint_is_refused(url, headers, words):
    with pytest.raises((ArgumentValueError, ArgumentTypeError), match=words):
        Endpoint(url, None, "sk-12345678", headers)
