"""Dynamics: integrate, measure, recognise, with error bars."""

from __future__ import annotations
