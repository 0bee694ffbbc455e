"""Bounds and evidence that hold whenever one looks: `ConfidenceSequence`, `EProcess`."""

from __future__ import annotations

from midstream.meta._confidence import ConfidenceSequence, EProcess

__all__ = ["ConfidenceSequence", "EProcess"]
