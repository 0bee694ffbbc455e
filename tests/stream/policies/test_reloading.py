"""Rule files that change, and all that stands for policies."""

from __future__ import annotations

import logging
import os
import threading

import pytest

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, ConfigurationError
from midstream.stream import (
    Event,
    Guard,
    Policy,
    PolicyFile,
    PolicySet,
    watch,
)
from midstream.stream.policies import (
    as_policies,
    for_many_streams,
)


def write(path, text, stamp) -> None:
    path.write_text(text)
    os.utime(path, ns=(stamp, stamp))


def test_a_file_that_changes_is_read_again(tmp_path, caplog) -> None:
    path = tmp_path / "rules.toml"
    write(path, "[ready.token-budget]\ntokens = 5\n", 1)
    told = []
    rules = PolicyFile(path, check_s=0, on_problem=told.append)
    first = rules.current
    assert rules.current is first and rules.version == 1
    running = Guard((), rules)
    write(path, "[ready.token-budget]\ntokens = 50\n", 2)
    assert rules.current is not first and rules.version == 2
    # A stream keeps the rules with which it began.
    assert running.take(Event("text", 0, 0, "x" * 40)).stop is not None
    assert Guard((), rules).take(Event("text", 0, 0, "x" * 40)).stop is None
    second = rules.current
    with caplog.at_level(logging.WARNING, logger="midstream.stream.policies"):
        write(path, "[ready.token-budget]\ntokens = ", 3)
        assert rules.current is second
        assert rules.problem is not None and "not TOML" in rules.problem
        assert rules.current is second
        path.unlink()
        assert rules.current is second
        assert "No such file" in rules.problem
    assert len(told) == 2 and told[0] in caplog.text and "the old rules stay" in caplog.text
    write(path, "[ready.token-budget]\ntokens = 500\n", 4)
    assert rules.current is not second
    assert rules.problem is None
    assert not rules.reload()
    assert rules.reload(force=True)
    assert rules.version == 4


def test_whoever_asks_is_told_of_changes(tmp_path) -> None:
    path = tmp_path / "rules.toml"
    write(path, "[ready.token-budget]\ntokens = 5\n", 1)
    changes, problems = [], []
    rules = PolicyFile(path, on_change=changes.append, on_problem=problems.append)
    write(path, "[ready.token-budget]\ntokens = 6\n", 2)
    assert rules.reload()
    write(path, "broken", 3)
    assert not rules.reload()
    assert (changes, len(problems)) == ([2], 1)
    assert not rules.reload()
    assert len(problems) == 1
    assert not rules.reload(force=True)
    assert len(problems) == 2
    with pytest.raises(ArgumentTypeError, match="on_change must be callable, got 3"):
        PolicyFile(path, on_change=3)


def test_a_file_among_others_is_read_again_too(tmp_path, caplog) -> None:
    path = tmp_path / "rules.toml"
    write(path, "[ready.token-budget]\ntokens = 5\n", 1)
    group = for_many_streams(["no-secret", PolicyFile(path, check_s=0)])
    first = group.current
    assert group.current is first is as_policies(group)
    assert list(first.by_name) == ["no secret", "token budget"]
    write(path, "[ready.call-limit]\ncalls = 5\n", 2)
    assert list(group.current.by_name) == ["no secret", "call limit"]
    write(path, "[ready.no-secret]\n", 3)
    assert list(group.current.by_name) == ["no secret", "call limit"]
    assert "the old rules stay: policies: the name 'no secret' occurs twice" in caplog.text
    assert isinstance(for_many_streams("no-secret"), PolicySet)
    assert isinstance(for_many_streams(["no-secret"]), PolicySet)
    with pytest.raises(ArgumentTypeError, match="policies must be policies"):
        for_many_streams([3])


def test_a_file_is_looked_at_no_more_often_than_asked(tmp_path) -> None:
    path = tmp_path / "rules.toml"
    write(path, "[ready.token-budget]\ntokens = 5\n", 1)
    rules = PolicyFile(path, check_s=3600)
    first = rules.current
    write(path, "[ready.token-budget]\ntokens = 50\n", 2)
    assert rules.current is first
    assert rules.reload()
    assert rules.current is not first


def test_a_file_must_be_sound_at_first(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        PolicyFile(tmp_path / "none.toml")
    path = tmp_path / "rules.toml"
    path.write_text("[ready.token-budget]")
    with pytest.raises(ConfigurationError, match="setting 'tokens' must be given"):
        PolicyFile(path)


def test_threads_may_share_a_file(tmp_path) -> None:
    path = tmp_path / "rules.toml"
    write(path, "[ready.token-budget]\ntokens = 5\n", 1)
    rules = PolicyFile(path, check_s=0)
    failures = []

    def read() -> None:
        try:
            for _ in range(50):
                assert len(rules.current) == 1
        except Exception as error:  # noqa: BLE001 - told by the thread that waits
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for stamp in range(2, 12):
        write(path, f"[ready.token-budget]\ntokens = {stamp}\n", stamp)
    for thread in threads:
        thread.join()
    assert failures == []


def test_what_stands_for_policies(tmp_path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("[ready.call-limit]\ncalls = 3\n[ready.time-limit]\nseconds = 9\n")
    policy = Policy("p", "G !x", {"x": {"kind": "text"}})
    assert [p.name for p in as_policies(policy)] == ["p"]
    assert [p.name for p in as_policies(path)] == ["call limit", "time limit"]
    assert [p.name for p in as_policies(str(path))] == ["call limit", "time limit"]
    assert [p.name for p in as_policies("no-secret")] == ["no secret"]
    assert as_policies("no-secret") is as_policies("no-secret")
    mixed = as_policies([policy, path, "no-secret"])
    assert [p.name for p in mixed] == ["p", "call limit", "time limit", "no secret"]
    assert as_policies(mixed) is mixed
    file = PolicyFile(path)
    assert as_policies(file) is file.current
    assert len(as_policies([file, policy])) == 3
    assert len(as_policies(())) == 0
    with pytest.raises(ArgumentValueError, match=r"'no-secrets' is neither a path .* did you mean"):
        as_policies("no-secrets")
    with pytest.raises(ArgumentTypeError, match="policies must be policies, paths"):
        as_policies(3)
    with pytest.raises(
        ArgumentTypeError, match=r"policies must be policies, paths .* got 3 \(int\)"
    ):
        as_policies([3])
    with pytest.raises(ArgumentValueError, match="the name 'p' occurs twice"):
        as_policies([policy, policy])
    with pytest.raises(ArgumentTypeError, match="policies must be policies"):
        watch([], policies=3)
