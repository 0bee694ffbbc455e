"""Which extra brings what is not installed."""

from __future__ import annotations

import pytest

from midstream.apps.extras import needs_extra


def test_what_is_not_installed():
    says = r'^no_such is not installed: pip install "midstream\[x\]"$'
    with pytest.raises(ImportError, match=says), needs_extra("x"):
        import no_such  # noqa: F401


def test_no_extra_brings_what_midstream_lacks_itself():
    says = r"^No module named 'midstream\.no_such'$"
    with pytest.raises(ModuleNotFoundError, match=says), needs_extra("x"):
        import midstream.no_such  # noqa: F401
