"""Signals that come while a server starts."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest
from apps.program import GUARD_S, environment

from midstream.apps.output import Interrupted
from midstream.apps.starting import ending_early

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")

#: A slow start: what the command imports first takes as long as it takes.
SLOW = """
import sys, time
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "midstream.apps.proxy":
            print("starting", flush=True)
            while True:
                time.sleep(0.01)
sys.meta_path.insert(0, Slow())
from midstream.apps.cli import main
sys.argv = ["midstream", "proxy", "--upstream", "http://127.0.0.1:9", "--port", "0"]
main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_a_slow_start_ends_it_in_an_orderly_way(number):
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", SLOW],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    try:
        assert process.stdout.readline() == b"starting\n"
        process.send_signal(signal.SIGHUP)  # to read rules again, which are not yet read
        process.send_signal(number)
        _, err = process.communicate(timeout=GUARD_S)
    finally:
        process.kill()
        process.wait()
    # A status of its own: who sent the signal finds nobody killed.
    assert (process.returncode, err) == (128 + number, b"")


def test_handlers_are_as_before_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with ending_early(ignored=("SIGHUP", "SIGNONE")):
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with ending_early():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_signals_stay_as_they_are():
    seen = []

    def run():
        with ending_early():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
