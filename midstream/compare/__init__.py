"""Sequence comparison and repetition.

`RunDetector` finds, online, that the end of a sequence has become periodic.
"""
