from __future__ import annotations

import inspect

import pytest

from midstream._core.deprecation import deprecated, renamed_arguments
from midstream._core.errors import ArgumentTypeError


@renamed_arguments("9.9", most="max_items", r="radius")
def search(values, max_items=3, *, radius=1.0):
    """Words."""
    return values, max_items, radius


def test_an_old_name_works_and_warns_where_it_is_written():
    with pytest.warns(
        DeprecationWarning, match="argument most is deprecated since .*9.9: use max"
    ) as seen:
        assert search([1], most=5) == ([1], 5, 1.0)
    assert seen[0].filename == __file__
    with pytest.warns(DeprecationWarning) as seen:
        assert search([1], r=2.0, most=5) == ([1], 5, 2.0)
    assert len(seen) == 2


def test_new_names_and_places_warn_of_nothing():
    assert search([1], 4, radius=2.0) == ([1], 4, 2.0)
    assert search([1], max_items=4) == ([1], 4, 1.0)


def test_a_value_under_both_names_is_refused():
    with pytest.raises(ArgumentTypeError, match="max_items must be given once, got it as most=5"):
        search([1], most=5, max_items=4)
    with (
        pytest.warns(DeprecationWarning),
        pytest.raises(TypeError, match="multiple values"),
    ):
        search([1], 4, most=5)


def test_what_is_seen_of_it_has_the_new_names():
    assert list(inspect.signature(search).parameters) == ["values", "max_items", "radius"]
    assert (search.__name__, search.__doc__) == ("search", "Words.")


def test_a_deprecated_method_goes_on_working():
    class Table:
        @deprecated("to_dict()", "9.9")
        def as_dict(self):
            return {}

    with pytest.warns(
        DeprecationWarning, match=r"as_dict is deprecated .* use to_dict\(\)"
    ) as seen:
        assert Table().as_dict() == {}
    assert seen[0].filename == __file__
    assert Table.as_dict.__deprecated__ == "to_dict()"
