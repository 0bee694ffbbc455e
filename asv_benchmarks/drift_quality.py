"""How drift against a template tells registers of text apart, and how often it is wrong.

    python drift_quality.py [FOLDER]

FOLDER holds ``loops/gpt3.jsonl``, samples of GPT-3 from nine prompts; default
``MIDSTREAM_TEST_DATA``, else ``shared/data`` beside the checkout. For each prompt a template is
learned of ten samples. Its other samples are to be left alone; with a sample of another prompt
behind them they are to be found.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from midstream.stream import DriftDetector, DriftTemplate, Event

REFERENCES, PAIRS = 10, 8


def found(template, text):
    """The first finding, or None."""
    return next(iter(DriftDetector(template).observe(Event("text", 0, 0, text))), None)


def main():
    console = Console(width=max(Console().width, 150))
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    named = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MIDSTREAM_TEST_DATA", beside)
    path = Path(named) / "loops" / "gpt3.jsonl"
    if not path.exists():
        print(
            f"drift_quality.py: {path} is missing: name the folder of midstream's test data as"
            " argument or in MIDSTREAM_TEST_DATA (labelled samples of"
            " github.com/minimaxir/gpt-3-experiments)",
            file=sys.stderr,
        )
        return 2
    texts = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        sample = json.loads(line)
        if sample["label"] == "none" and sample["temperature"] > 0:
            texts[sample["domain"]].append(sample["text"])
    table = Table(title="flagged / texts, by template; in brackets mean characters from the turn")
    table.add_column("template of")
    table.add_column("itself, held out", justify="right")
    for domain in texts:
        table.add_column(f"to {domain[:12]}", justify="right")
    for domain, own in texts.items():
        template = DriftTemplate.learn(own[:REFERENCES])
        held = own[REFERENCES:]
        cells = [f"{sum(found(template, text) is not None for text in held)} / {len(held)}"]
        for other, theirs in texts.items():
            if other == domain:
                cells.append("-")
                continue
            pairs = list(zip(held, theirs[:PAIRS], strict=False))
            hits = []
            for before, after in pairs:
                finding = found(template, f"{before}\n{after}")
                if finding is not None and finding.end > len(before):
                    hits.append(finding.end - len(before))
            late = f" ({sum(hits) / len(hits):.0f})" if hits else ""
            cells.append(f"{len(hits)} / {len(pairs)}{late}")
        table.add_row(domain, *cells)
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
