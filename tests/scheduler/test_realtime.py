"""What the system grants: as it says, with reasons, and with nothing left behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from midstream import MidstreamError
from midstream.scheduler import (
    Capabilities,
    Grant,
    apply_to_this_thread,
    capabilities,
    check_affinity,
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")


def hard_memory_limit() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


#: Everything is imported before root is given up: others may not read the tree.
UNPRIVILEGED = """
import json, os, resource, sys
from midstream.scheduler import apply_to_this_thread, capabilities, lock_memory, unlock_memory
capabilities()
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
told = capabilities().to_dict()
(applied,) = apply_to_this_thread(realtime=True)
told["applied"] = {"granted": applied.granted, "detail": applied.detail}
locked = lock_memory()
told["locked"] = {"granted": locked.granted, "detail": locked.detail}
told["VmLck"] = [l for l in open("/proc/self/status") if l.startswith("VmLck")][0].split()[1]
told["unlocked"] = bool(unlock_memory())
told["VmLck after"] = [l for l in open("/proc/self/status") if l.startswith("VmLck")][0].split()[1]
print(json.dumps(told))
"""


def unprivileged(memory_limit: int) -> Any:
    done = subprocess.run(
        [sys.executable, "-P", "-c", UNPRIVILEGED, str(memory_limit)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return json.loads(done.stdout)


def in_a_thread(work: Callable[[], Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def this_thread() -> list[Any]:
    """All that `capabilities` tries to change."""
    state: list[Any] = [threading.active_count()]
    if sys.platform == "linux":
        state += [
            os.sched_getscheduler(0),
            os.sched_getaffinity(0),
            os.sched_getaffinity(os.getpid()),
        ]
        for file in ("/proc/thread-self/status", "/proc/self/timerslack_ns"):
            # Sizes and counters change by themselves.
            kept = re.findall(r"^(?:VmLck|Cap\w+|Cpus_allowed|\d).*", Path(file).read_text(), re.M)
            state += kept
    return state


def test_nothing_lasts() -> None:
    before = this_thread()
    capabilities()
    assert this_thread() == before


def test_everything_is_told() -> None:
    told = capabilities()
    assert isinstance(told, Capabilities)
    grants = list(told)
    assert len(grants) == 7
    for grant in grants:
        assert type(grant.granted) is bool
        assert bool(grant) is grant.granted
        assert grant.detail
        assert str(grant) == f"{grant.name}: {'yes' if grant else 'no'}, {grant.detail}"
        assert grant.name in repr(told)
        assert grant.detail in repr(told)
    assert len(repr(told).splitlines()) == 9
    assert json.loads(json.dumps(told.to_dict()))["clock"] == {
        "name": told.clock.name,
        "granted": told.clock.granted,
        "detail": told.clock.detail,
    }


def test_html_is_escaped() -> None:
    plain = Grant("a", True, "fine")
    html = Capabilities(Grant("<b>", False, "x & y"), *[plain] * 6)._repr_html_()
    assert "<th>&lt;b&gt;</th><td>no</td><td>x &amp; y</td>" in html
    assert html.count("<tr>") == html.count("</tr>") == 7


@linux
def test_a_thread_gets_what_it_is_told_it_has() -> None:
    before = this_thread()
    told = capabilities()
    cpu = max(os.sched_getaffinity(0))

    def work() -> Any:
        grants = apply_to_this_thread(cpu_affinity=cpu, realtime=True)
        return (
            grants,
            os.sched_getaffinity(0),
            os.sched_getscheduler(0),
            in_a_thread(lambda: os.sched_getscheduler(0)),
        )

    (affinity, realtime), cpus, policy, childs_policy = in_a_thread(work)
    assert affinity.granted == told.cpu_affinity.granted
    assert realtime.granted == told.realtime.granted
    assert cpus == {cpu} if affinity else cpus == before[2]
    assert policy == (os.SCHED_FIFO | os.SCHED_RESET_ON_FORK if realtime else os.SCHED_OTHER)
    assert childs_policy == os.SCHED_OTHER
    assert this_thread() == before


def test_nothing_asked_nothing_done() -> None:
    before = this_thread()
    assert apply_to_this_thread() == ()
    assert this_thread() == before


@linux
def test_what_is_refused_is_told_with_the_limit_behind_it() -> None:
    told = unprivileged(1 << 20)
    reason = "EPERM (Operation not permitted): RLIMIT_RTPRIO is 0 and CAP_SYS_NICE is not held"
    for realtime in (told["realtime"], told["applied"]):
        assert not realtime["granted"]
        assert realtime["detail"] == reason
    assert not told["memory_lock"]["granted"]
    assert re.fullmatch(
        r"one page was locked, but the process maps [\d,]+ bytes: "
        r"RLIMIT_MEMLOCK is 1,048,576 bytes and CAP_IPC_LOCK is not held",
        told["memory_lock"]["detail"],
    )
    assert told["locked"] == {
        "granted": False,
        "detail": "ENOMEM (Cannot allocate memory): RLIMIT_MEMLOCK is 1,048,576 bytes and "
        "CAP_IPC_LOCK is not held",
    }
    assert told["VmLck"] == "0"
    assert told["unlocked"]
    assert told["timer_slack"]["granted"]


@linux
def test_no_page_may_be_locked() -> None:
    told = unprivileged(0)["memory_lock"]
    assert not told["granted"]
    assert re.match(r"E(PERM|NOMEM|AGAIN) .*: RLIMIT_MEMLOCK is 0 bytes", told["detail"])


@linux
@pytest.mark.skipif(hard_memory_limit() < 1 << 40, reason="limited to less locked memory than that")
def test_under_a_limit_only_what_is_there_is_locked() -> None:
    told = unprivileged(1 << 40)
    assert told["memory_lock"]["granted"]
    assert told["locked"]["granted"]
    assert told["locked"]["detail"].startswith("all memory of now, none of later: RLIMIT_MEMLOCK")
    assert int(told["VmLck"]) > 0
    assert told["VmLck after"] == "0"


def test_affinity_is_checked() -> None:
    usable = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [0]
    assert check_affinity(usable[0]) == (usable[0],)
    assert check_affinity(iter([*usable, *usable])) == tuple(usable)
    with pytest.raises(
        ValueError, match=r"this process may use \(.*\), got 100000-100002, 100004$"
    ):
        check_affinity({usable[0], 100_000, 100_001, 100_002, 100_004})
    with pytest.raises(ValueError, match=r"may use \(.*\), got -1$"):
        check_affinity(-1)
    with pytest.raises(ValueError, match="at least one processor, got none"):
        check_affinity([])
    for wrong in ("01", b"0", 1.0, [0.0], [None], True, None):
        with pytest.raises(TypeError, match="cpu_affinity must") as caught:
            check_affinity(wrong)  # type: ignore[arg-type]
        assert isinstance(caught.value, MidstreamError)


def test_a_wrong_affinity_changes_nothing() -> None:
    before = this_thread()
    with pytest.raises(ValueError, match="got 100000"):
        apply_to_this_thread(cpu_affinity=[100_000], realtime=True)
    assert this_thread() == before
