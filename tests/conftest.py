"""What tests of several packages share."""

from __future__ import annotations

import gc
import os
import re
import signal
from pathlib import Path

import pytest

# A shell ignores Ctrl-C for what it starts in the background, nohup ignores SIGHUP, and children
# inherit both: tests of what these signals do would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.fixture(autouse=True)
def _signals_meet_no_collection(request):
    """Keep the garbage collector out of tests that interrupt themselves.

    Hypothesis hears of each collection by a callback; what a signal's handler raises in there is
    only reported, and the call under test goes on.
    """
    if not re.search("ctrl_c|interrupt|signal|handler", request.node.name):
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.fixture(scope="session")
def shared_data():
    """Path of something in the test data that is too large for the repository, or a skip.

    The data stand in the folder that ``MIDSTREAM_TEST_DATA`` names, else in ``shared/data`` beside
    the checkout.
    """
    named = os.environ.get("MIDSTREAM_TEST_DATA")
    root = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"

    def find(subpath: str = "") -> Path:
        path = root / subpath
        if not path.exists():
            pytest.skip(
                f"no test data: {subpath or 'the folder'} is not in {root}"
                " (set MIDSTREAM_TEST_DATA to the folder that holds it)"
            )
        return path

    return find
