"""Sphinx's configuration. `.ci/docs` lays out the sources, and runs it."""

from __future__ import annotations

from midstream import __version__

project = "midstream"
author = "the authors of midstream"
copyright = author
version = release = __version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]

# Single backticks are names: of ours where there is one, else shown as they stand.
default_role = "py:obj"
# The summaries at the top of a page lead to what stands below on it; no page for each name.
autosummary_generate = False
autodoc_member_order = "bysource"
# numpydoc's sections say types, with shapes and units; annotations would say them again.
autodoc_typehints = "none"
numpydoc_show_class_members = False

myst_heading_anchors = 3

html_theme = "furo"
html_title = f"midstream {release}"
html_show_sourcelink = False
html_copy_source = False
