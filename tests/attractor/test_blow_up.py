"""Which step left the numbers, and from where: the same for one trajectory as for many."""

from __future__ import annotations

import numpy as np
import pytest

from midstream.attractor import ensemble, integrate, systems
from midstream.errors import IntegrationError

CASES = [
    ("van_der_pol", [1e9, 1e9]),
    ("lorenz", [1e80, 1e80, 1.0]),
    ("rossler", [400.0, 400.0, 400.0]),
    ("henon", [50.0, 3.0]),
    ("logistic", [5.0]),
]


@pytest.mark.parametrize("transient", [0, 50])
@pytest.mark.parametrize(("name", "start"), CASES)
def test_one_trajectory_tells_what_an_ensemble_does(
    name: str, start: list[float], transient: int
) -> None:
    """Regression: vector loops on a single lane wrote over the state to go back to."""
    system = systems.get(name)
    dt = {} if system.kind == "map" else {"dt": 0.1}
    with pytest.raises(IntegrationError) as one:
        integrate(system, start, steps=500, transient=transient, **dt)
    with pytest.raises(IntegrationError) as many:
        ensemble(system, [start] * 9, steps=500, transient=transient, **dt)
    assert np.isfinite(one.value.state).all()
    assert one.value.step == many.value.step
    assert one.value.state == many.value.state
    if one.value.step > 1:
        before = integrate(system, start, steps=one.value.step - 1, **dt)[-1]
        assert one.value.state == pytest.approx(before, rel=1e-12)
