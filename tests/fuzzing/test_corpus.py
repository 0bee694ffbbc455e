"""Every input that was kept goes through its entry point, and raises nothing that is a finding."""

from __future__ import annotations

import pytest

for extra, module in (("serve", "httptools"), ("media", "m3u8"), ("ui", "starlette")):
    pytest.importorskip(module, reason=f"needs the extra {extra}: {module}")

from fuzzing.targets import CORPUS, TARGETS, corpus_of, write_corpus  # noqa: E402


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_kept(name):
    inputs = corpus_of(name)
    assert inputs, "an entry point without a corpus"
    for data in (b"", b"\0", *inputs):
        TARGETS[name](data)


def test_nothing_else_is_kept():
    assert {path.stem for path in CORPUS.iterdir()} == TARGETS.keys()


def test_a_corpus_comes_back_as_it_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr("fuzzing.targets.CORPUS", tmp_path)
    inputs = {b"", b"text\nof two lines", b"\xff\x00", "é\u2028".encode(), b"\r"}
    write_corpus("x", inputs)
    assert set(corpus_of("x")) == inputs
    assert corpus_of("another") == []
