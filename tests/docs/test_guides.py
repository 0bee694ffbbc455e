"""Every example in README and in the guides runs, and every link leads somewhere."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from documents import Reader, blocks_of, commands_of, programs_of

import midstream
from midstream.apps.guides import all_guides

README = Path(__file__).parents[2] / "README.md"
GUIDES = [guide.path for guide in all_guides()]
DOCUMENTS = [*GUIDES, *([README] if README.is_file() else [])]
needs_shell = pytest.mark.skipif(
    sys.platform == "win32" or shutil.which("bash") is None, reason="examples are for bash"
)


@needs_shell
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_examples_run(path, tmp_path) -> None:
    missing = [name for name in programs_of(path.read_text("utf-8")) if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{path.name} shows how to use {missing[0]}, which is not here")
    with Reader(tmp_path) as reader:
        reader.follow(path)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path) -> None:
    text = path.read_text("utf-8")
    for block in blocks_of(text):
        text = text.replace(block.text, "")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_each_block_says_what_it_is(path) -> None:
    text = path.read_text("utf-8")
    assert text.count("```") == 2 * len(blocks_of(text))
    for block in blocks_of(text):
        assert block.language, f"line {block.line}"


def test_guides_name_no_file_outside_the_package() -> None:
    for path in GUIDES:
        assert "](../" not in path.read_text("utf-8"), path


ALERTS = README.parent / "wheels" / "deploy" / "prometheus" / "rules.yml"


@pytest.mark.skipif(not ALERTS.is_file(), reason="no files for deployment beside the tests")
def test_the_manual_says_what_to_do_at_each_alert() -> None:
    (manual,) = (path for path in GUIDES if path.stem == "operations")
    alerts = set(re.findall(r"^ *- alert: (\w+)", ALERTS.read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"`(Midstream\w+)`", manual.read_text("utf-8"))) == alerts


def test_metrics_that_the_manual_names_are_there() -> None:
    (manual,) = (path for path in GUIDES if path.stem == "operations")
    sources = Path(midstream.__file__).parent.rglob("*.py")
    code = "\n".join(source.read_text("utf-8") for source in sources)
    names = set(re.findall(r"\bmidstream_([a-z_]+)", manual.read_text("utf-8")))
    assert len(names) > 10
    for name in names:
        assert name.rstrip("_") in code, name


@pytest.mark.skipif(not (README.parent / ".ci").is_dir(), reason="no checks beside the tests")
def test_checks_that_readme_names_are_there() -> None:
    named = re.findall(r"`(?:python )?((?:\.ci|wheels)/\w+(?:\.py)?)", README.read_text("utf-8"))
    assert len(named) > 8
    for name in named:
        assert (README.parent / name).exists(), name


@pytest.mark.skipif(not README.is_file(), reason="no README beside the tests")
def test_readme_names_every_guide() -> None:
    named = set(re.findall(r"\(midstream/docs/([\w-]+)\.md\)", README.read_text("utf-8")))
    assert named == {path.stem for path in GUIDES}


@needs_shell
class TestReader:
    """The check itself: it sees what is wrong."""

    def follow(self, folder, text) -> int:
        path = folder / "document.md"
        path.write_text(text, "utf-8")
        work = folder / "work"
        work.mkdir()
        with Reader(work) as reader:
            return reader.follow(path)

    @pytest.mark.parametrize(
        "text",
        [
            "```sh\nfalse\n```",
            "```sh\ntrue   # status 1\n```",
            "```sh\necho one\n```\n\n```text\ntwo\n```",
            "```python\nraise SystemExit(1)\n```",
            "```python\n>>> 1 + 1\n3\n\n```",
            "```toml\nno toml\n```",
            "```sh\nmidstream no-such-command\n```",
            "```sh\nmidstream check 'F a' missing   # status 1: the file is not there\n```",
        ],
    )
    def test_what_is_wrong_is_seen(self, tmp_path, text) -> None:
        with pytest.raises((AssertionError, ValueError)):
            self.follow(tmp_path, text)

    def test_what_is_right_is_done(self, tmp_path) -> None:
        text = (
            "Save this as `kept.txt`:\n\n```text\none\n```\n\n"
            "```sh\ncat kept.txt\nfalse   # status 1\ncd .. && sleep 60 &\nkill %1\n"
            "cat <<'END'\ntwo\nEND\n```\n\n```text\none\n...two\n```\n\n"
            "```python\nprint(open('kept.txt').read())\n```\n\n```text\no...e\n```\n\n"
            "```python\n>>> 1 + 1\n2\n\n```\n"
        )
        assert self.follow(tmp_path, text) == 7

    def test_ports_are_free_ones_everywhere(self, tmp_path) -> None:
        text = (
            "```sh\necho http://127.0.0.1:8790/v1 --port 8792 8790\n```\n\n"
            "```text\nhttp://127.0.0.1:...\n```\n"
        )
        self.follow(tmp_path, text)
        (said,) = (tmp_path / "work" / ".examples").glob("*.out")
        assert re.search(r":8790|port 8792", said.read_text()) is None
        assert said.read_text().endswith(" 8790\n")

    def test_commands_may_go_on(self) -> None:
        text = "one \\\n  two\n# three\n\ncat <<END >x\nfour\nEND\nfive"
        assert list(commands_of(text)) == ["one \\\n  two", "cat <<END >x\nfour\nEND", "five"]
