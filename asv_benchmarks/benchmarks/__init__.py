"""Benchmarks of midstream, for asv. See the README one folder up."""
