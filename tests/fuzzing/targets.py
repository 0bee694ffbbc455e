"""All entry points, and the corpus of inputs that found something in each."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from fuzzing import peers, states, streams  # noqa: F401 - they register what they have
from fuzzing.registry import TARGETS

__all__ = ["CORPUS", "TARGETS", "corpus_of", "write_corpus"]

#: A file for each target: a line is ``{"t": text}`` or ``{"b": base64}``, sorted.
CORPUS = Path(__file__).parent / "corpus"


def corpus_of(name: str) -> list[bytes]:
    """The inputs kept for a target."""
    path = CORPUS / f"{name}.jsonl"
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        row["t"].encode() if "t" in row else base64.b64decode(row["b"], validate=True)
        for row in rows
    ]


def write_corpus(name: str, inputs: set[bytes]) -> None:
    """Keep inputs for a target, and no others."""
    rows = []
    for data in inputs:
        text = data.decode("utf-8", "replace")
        plain = text.encode() == data and (text.isprintable() or "\n" in text)
        row = {"t": text} if plain else {"b": base64.b64encode(data).decode("ascii")}
        rows.append(json.dumps(row, ensure_ascii=True))
    CORPUS.mkdir(exist_ok=True)
    path = CORPUS / f"{name}.jsonl"
    path.write_text("".join(f"{row}\n" for row in sorted(rows)), encoding="utf-8")
