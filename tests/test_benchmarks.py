"""The benchmarks as a whole: the README's tables, pins, and the check for regressions."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "asv_benchmarks"
README = ROOT / "README.md"


@pytest.fixture
def benchmarks(monkeypatch):
    """Modules of the folder by name, as its programs import them."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def run(program, *arguments, timeout=55):
    command = [sys.executable, str(FOLDER / program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.skipif(not README.is_file(), reason="no README beside the tests")
def test_the_readme_has_the_tables_that_the_results_make():
    done = run("tables.py", "--check")
    assert done.returncode == 0, f"python asv_benchmarks/tables.py --write\n{done.stdout}"


def test_every_figure_of_the_tables_is_of_a_benchmark(benchmarks):
    measure, rows = benchmarks("measure"), benchmarks("rows")
    matches = benchmarks("results").is_meant
    for table in rows.TABLES.values():
        for script, *_ in table.programs:
            assert (FOLDER / script).is_file()
        for key in measure.keys_of(table):
            if key.split(".")[0] in measure.programs_of(table):
                continue
            path = key.partition("(")[0]
            module, name, *method = path.split(".")
            loaded = benchmarks(f"benchmarks.{module}")
            wanted = method[0] if method else "track_ratio"
            kinds = [
                one
                for one, kind in vars(loaded).items()
                if matches(name, one) and hasattr(kind, wanted) and not one.startswith("_")
            ]
            assert kinds, key
            for own in re.findall(r"\{(.*?)\}", name):
                assert len(kinds) == len(own.split(",")), key


def test_a_figure_is_shown_in_the_unit_that_suits_it(benchmarks):
    show = benchmarks("tables").show
    for value, unit, shown in (
        (5.04e-6, "s", "5.0 µs"),
        (1.614e-4, "s", "161 µs"),
        (9.99e-4, "s", "999 µs"),
        (9.997e-4, "s", "1.0 ms"),
        (1.5e-10, "s", "0.15 ns"),
        (2.72, "s", "2.7 s"),
        (150 * 1024, "B", "150 KiB"),
        (57.2e6, "B", "57 MB"),
        (9.43e8, "B/s", "943 MB/s"),
        (9312.0, "/s", "9,300"),
        (5.7e9, "/s", "5,700 million"),
        (0.0331, "share", "3.3 %"),
        (1570.0, "x", "1,600"),
        (0.151, "x", "0.15"),
        (1.057, "x", "1.06"),
        (1275.0, "count", "1,275"),
        (0.0, "s", "0 ns"),
    ):
        assert str(show(value, unit)) == shown


def test_cells_give_spans_the_closest_peer_and_a_unit_once(benchmarks):
    tables, results = benchmarks("tables"), benchmarks("results")
    kept = results.Results({"r": {}}, {})
    kept.add(
        "r",
        {"quiet": True},
        {
            "a.B.time_c(1)": {"value": 0.002, "unit": "s"},
            "a.B.time_c(2)": {"value": 0.006, "unit": "s"},
            "peers_x.Near": {"ours_s": 1e-6, "peer_s": 3e-6, "ratio": 3.0, "library": "n"},
            "peers_x.Far": {"ours_s": 2e-6, "peer_s": 8e-6, "ratio": 4.0, "library": "f"},
        },
    )

    def cell(text):
        return tables.cell(text, kept, set())

    assert cell("[[a.B.time_c(1)|/1000]] / [[a.B.time_c(2)|/1000]] each") == "2.0 / 6.0 µs each"
    assert cell("[[a.B.time_c(*)]]") == "2.0 to 6.0 ms"
    assert cell("[[a.B.time_c(1)]] / [[peers_x.Near:ours]]") == "2.0 ms / 1.0 µs"
    assert cell("[[peers_x.*:library]] [[peers_x.*:ratio]]") == "n 3.0"
    with pytest.raises(LookupError, match=r"measure\.py"):
        cell("[[a.B.time_d]]")


def test_a_table_says_what_was_measured_where_and_whether_it_was_quiet(benchmarks):
    tables, results, row = benchmarks("tables"), benchmarks("results"), benchmarks("row")
    table = row.Table(
        "t", ("work", "cost"), (("one", "[[a.B.c]]"), ("two", "[[a.B.d]]"), ("three", "[[a.B.e]]"))
    )
    where = {"commit": "abc1234", "date": "2026-01-02", "machine": "M", "cores": 2}
    where |= {"level": "AVX2", "python": "3.11.7", "versions": {"numpy": "2.3.5"}}
    kept = results.Results({}, {})
    kept.add("quiet", {**where, "quiet": True}, {"a.B.c": {"value": 1.0, "unit": "s"}})
    kept.add("loaded", {**where, "quiet": False}, {"a.B.d": {"value": 2.0, "unit": "s"}})
    lines = tables.render(table, kept).splitlines()
    assert lines[:4] == ["| work | cost |", "|---|---|", "| one | 1.0 s |", "| two † | 2.0 s |"]
    said = " ".join(lines[4:])
    assert "Measured on 2026-01-02 at abc1234: M, 2 cores, AVX2, Python 3.11.7" in said
    assert said.endswith("Not measured yet: three.")
    assert "† Measured on 2026-01-02 at abc1234 while others used the machine" in said


def test_results_are_kept_and_read_again(benchmarks, tmp_path):
    results = benchmarks("results")
    kept = results.Results({"unused": {}}, {})
    kept.add("r", {"quiet": True}, {"a.b": {"value": 1.23456789, "unit": "s"}})
    kept.save(tmp_path / "r.json")
    again = results.Results.load(tmp_path / "r.json")
    assert again.runs == {"r": {"quiet": True}}
    assert again.figures == {"a.b": {"run": "r", "value": 1.235, "unit": "s"}}


def test_benchmarks_are_asked_for_by_name_and_parameters(benchmarks):
    of = benchmarks("measure").benchmark_of
    for key, name in (
        ("monitors.Step.time_step_1000(mask)", "monitors.Step.time_step_1000('mask')"),
        (
            "formats.Mapping.time_parsed(*, known API)",
            "formats.Mapping.time_parsed('a', 'known API')",
        ),
        ("elastic.Matrix.x(dtw, float64, 1)", "elastic.Matrix.x('dtw', 'float64', 1)"),
        ("grammar.Full.time_feed", "grammar.Full.time_feed"),
        ("peers_udp.BurstOf64", "peers_udp.BurstOf64.track_ratio"),
        ("peers_elastic.Dtw100{Aeon,Nobody}", "peers_elastic.Dtw100Aeon.track_ratio"),
        ("peers_formats.*", "peers_formats.OpenaiChat.track_ratio"),
    ):
        assert re.match(of(key), name), key
    assert not re.match(of("peers_elastic.Dtw100"), "peers_elastic.Dtw1000Aeon.track_ratio")


@pytest.mark.skipif(not (ROOT / ".ci").is_dir(), reason="no .ci beside the tests")
def test_peers_have_one_version(benchmarks):
    pins = benchmarks("pins").pins()
    lines = (ROOT / ".ci" / "requirements-peers.txt").read_text("utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if "==" in line)
    assert {name: pins[name] for name in tested if name in pins} == {
        name: version for name, version in tested.items() if name in pins
    }


#: Figures that no clock has a part in: a rate, a size, and what cannot be run.
TOYS = """
class Work:
    params = ("plain", "changed")

    def setup(self, kind):
        import midstream
        self.count = midstream.COUNT if kind == "changed" else 100

    def track_rate(self, kind):
        return 1e6 / self.count

    track_rate.unit = "samples/s"

    def track_size(self, kind):
        return self.count

    track_size.unit = "bytes"

    def track_skill(self, kind):
        return self.count

    track_skill.unit = "skill"

class Missing:
    def setup(self):
        raise NotImplementedError("a peer is not installed")

    def time_it(self):
        raise AssertionError

class Broken:
    def track_it(self):
        raise ValueError("it does not work")

    track_it.unit = "ms"
"""


def test_a_slower_build_is_told_from_one_that_is_not(tmp_path):
    for name, count in (("old", 100), ("slow", 112), ("same", 109)):
        package = tmp_path / name / "midstream"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"COUNT = {count}\n", "utf-8")
    own = tmp_path / "toys"
    own.mkdir()
    (own / "__init__.py").write_text("", "utf-8")
    (own / "work.py").write_text(TOYS, "utf-8")

    def check(new):
        folders = (tmp_path / "old", tmp_path / new, "--built", "--benchmarks", own)
        return run("regressions.py", *folders)

    same = check("same")
    assert same.returncode == 0, same.stdout + same.stderr
    assert "4 compared, 0 more than 10% slower" in same.stdout
    assert "left out: work.Missing.time_it: a peer is not installed" in same.stdout
    assert "left out: work.Broken.track_it: ValueError: it does not work (" in same.stdout
    slower = check("slow")
    assert slower.returncode == 1, slower.stdout + slower.stderr
    assert re.findall(r"SLOWER (\S+)\((\w+)\): (\S+) times", slower.stdout) == [
        ("work.Work.track_rate", "changed", "1.12"),
        ("work.Work.track_size", "changed", "1.12"),
    ]


def test_what_is_not_there_is_told(tmp_path):
    done = run("regressions.py", "no-such-commit")
    assert done.returncode == 1
    assert done.stderr.startswith("git rev-parse: fatal: ")
    assert "Traceback" not in done.stderr
    done = run("measure.py", "stream", "--only", "no such figure", "--python", "same")
    assert done.returncode == 2
    assert "no figure of stream matches --only no such figure" in done.stderr


def test_a_check_that_compares_nothing_fails(tmp_path):
    package = tmp_path / "midstream"
    package.mkdir()
    (package / "__init__.py").write_text("", "utf-8")
    own = tmp_path / "toys"
    own.mkdir()
    (own / "__init__.py").write_text("", "utf-8")
    done = run("regressions.py", tmp_path, tmp_path, "--built", "--benchmarks", own)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "nothing was compared" in done.stdout


def test_comparisons_keep_what_measures_them(benchmarks):
    """A class attribute of that name once took the place of the method in all of a file."""
    compared = benchmarks("benchmarks._timing").Peer
    regressions = benchmarks("regressions")
    names = {name for name, _ in regressions.discovered("benchmarks", FOLDER)}
    kinds = [name.rpartition(".")[0] for name in names if name.endswith(".ours")]
    assert len(kinds) > 100
    for kind in kinds:
        module, name = kind.split(".")
        one = getattr(benchmarks(f"benchmarks.{module}"), name)
        assert issubclass(one, compared), kind
        for method in ("setup", "teardown", "ours", "peer", "measure", "track_ratio"):
            assert callable(getattr(one, method)), f"{kind}.{method}"
        assert isinstance(one.library, str), kind


def test_what_a_row_divides_by_is_what_the_benchmark_does_in_a_call(benchmarks):
    constants = {
        "peers_drift": "SAMPLES",
        "peers_signals": "SAMPLES",
        "peers_scheduler": "PENDING",
        "peers_formats": "COUNT",
        "peers_realtime": "COUNT",
        "peers_flows": "STEPS",
        "watch": "SIZE",
        "run_detector": "SIZE",
        "levels": "SIZE",
    }
    rows = benchmarks("rows")
    divided = set()
    for table in rows.TABLES.values():
        for text in (text for row in table.rows for text in row):
            for module, rest, count in re.findall(r"\[\[(\w+)\.([^\]]*)\|/(\d+)\]\]", text):
                if module in constants and not rest.startswith("Ensemble"):
                    constant = getattr(benchmarks(f"benchmarks.{module}"), constants[module])
                    assert int(count) == constant, f"{module}.{rest}"
                    divided.add(module)
    assert divided == set(constants)
