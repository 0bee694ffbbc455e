"""The instruction-set level: chosen once, forced by MIDSTREAM_SIMD."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from midstream._core._cpu import (
    available_levels,
    detected_level,
    simd_level,
    simd_level_number,
)


def level_with(forced: str) -> subprocess.CompletedProcess[str]:
    script = "from midstream._core._cpu import simd_level; print(simd_level())"
    return subprocess.run(
        # -P: the source tree, where pytest was started, must not hide the installed package.
        [sys.executable, "-P", "-c", script],
        env=os.environ | {"MIDSTREAM_SIMD": forced},
        capture_output=True,
        text=True,
        check=False,
    )


def test_levels_start_with_scalar_and_end_with_the_detected_one() -> None:
    levels = available_levels()
    assert levels[0] == "scalar"
    assert levels[-1] == detected_level()
    assert levels in {
        ("scalar",),
        ("scalar", "neon"),
        ("scalar", "avx2"),
        ("scalar", "avx2", "avx512"),
    }


def test_level_is_what_the_environment_asks_for() -> None:
    assert simd_level() == (os.environ.get("MIDSTREAM_SIMD") or detected_level())
    assert (simd_level_number() == 0) == (simd_level() == "scalar")


@pytest.mark.parametrize("level", available_levels())
def test_each_available_level_can_be_forced(level: str) -> None:
    assert level_with(level).stdout.strip() == level


def test_empty_means_not_forced() -> None:
    assert level_with("").stdout.strip() == detected_level()


def test_an_impossible_level_is_an_error_and_not_a_slower_run() -> None:
    result = level_with("vax")
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert "ConfigurationError" in last
    assert "MIDSTREAM_SIMD='vax'" in last and "scalar" in last
