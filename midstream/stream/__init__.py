"""The platform: events, sources, detectors, `watch`, record and replay."""

from __future__ import annotations
