"""Temporal logic: parse, compile, monitor, decide."""
