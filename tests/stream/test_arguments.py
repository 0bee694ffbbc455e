"""Arguments that cannot be used: told at the call, by name, with what was got."""

from __future__ import annotations

import pytest

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream import Recorder, from_http, from_sse, load, replay

URL = "http://127.0.0.1:1"


@pytest.mark.parametrize("make", [replay, load, Recorder])
@pytest.mark.parametrize("path", [5, None, b"name"])
def test_paths(make, path):
    kind = type(path).__name__
    with pytest.raises(ArgumentTypeError, match=rf"path must be str or a path, got .* \({kind}\)"):
        make(path)


def test_the_source_of_a_recorder(tmp_path):
    with pytest.raises(ArgumentTypeError, match="source must be str, got int"):
        Recorder(tmp_path / "x", source=5)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"messages": "hi"}, "messages must be a sequence of mappings, got str"),
        ({"messages": {"role": "user"}}, "messages must be a sequence of mappings, got dict"),
        ({"messages": 5}, "messages must be a sequence of mappings, got int"),
        ({"messages": [{}, "hi"]}, r"messages\[1\] must be a mapping, got str"),
        ({"prompt": 5}, "prompt must be str, got int"),
        ({"prompt": "hi", "model": 5}, "model must be str, got int"),
        ({"body": [1]}, "body must be a mapping, got list"),
        ({"body": []}, "body must be a mapping, got list"),
        ({"prompt": "hi", "headers": ["sk-1"]}, "headers must be a mapping, got list"),
        ({"prompt": "hi", "headers": []}, "headers must be a mapping, got list"),
        ({"prompt": "hi", "headers": {"x": 5}}, "headers must map str to str, got str to int"),
        ({"prompt": "hi", "api_key": 5}, "api_key must be str, got int"),
        ({"prompt": "hi", "client": 5}, "client must be an httpx2.AsyncClient, got int"),
    ],
)
def test_requests(arguments, message):
    with pytest.raises(ArgumentTypeError, match=message) as caught:
        from_http(URL, **arguments)
    assert "sk-1" not in str(caught.value)


def test_limits():
    for make in (
        lambda n: from_sse(b"", max_line_bytes=n),
        lambda n: from_http(URL, prompt="hi", max_line_bytes=n),
    ):
        with pytest.raises(ArgumentValueError, match="max_line_bytes must be at least 1, got 0"):
            make(0)
        with pytest.raises(ArgumentTypeError, match="max_line_bytes must be an integer"):
            make(1.5)
