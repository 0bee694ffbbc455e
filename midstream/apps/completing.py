"""What a shell offers when Tab is pressed: names that an option or argument may have.

The functions are called by Typer while a command line is typed, so each imports only what holds
the names.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["faults", "kernels", "metrics", "ready_rules", "scenarios", "simulations", "units"]


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def scenarios(incomplete: str) -> list[str]:
    """Scenarios that a model may be asked for, see `midstream.stream.simulating.SCENARIOS`.

    Parameters
    ----------
    incomplete : str
        What was typed.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from midstream.apps.completing import scenarios
    >>> scenarios("near")
    ['near_loop']
    """
    from midstream.stream.simulating import SCENARIOS

    models = (name for name in SCENARIOS if name not in ("audio", "video"))
    return _beginning(models, incomplete)


def simulations(incomplete: str) -> list[str]:
    """Simulated sources; nothing before ``s`` was typed, so that a shell completes files."""
    from midstream.stream.simulating import SCENARIOS

    return _beginning([f"sim:{name}" for name in SCENARIOS], incomplete) if incomplete else []


def faults(incomplete: str) -> list[str]:
    """What can go wrong in a simulated stream."""
    from midstream.stream.simulating import FAULTS

    return _beginning(FAULTS, incomplete)


def kernels(incomplete: str) -> list[str]:
    """What ``midstream bench`` measures."""
    from midstream.apps.bench import KERNELS

    return _beginning(KERNELS, incomplete)


def metrics(incomplete: str) -> list[str]:
    """Measures that ``midstream compare`` has."""
    from midstream.apps.sequences import METRICS

    return _beginning(METRICS, incomplete)


def units(incomplete: str) -> list[str]:
    """What a text is cut into, to be compared."""
    return _beginning(("words", "characters"), incomplete)


def ready_rules(incomplete: str) -> list[str]:
    """Names of the ready rules; files are completed where none begins so."""
    from midstream.stream import ready_rules as ready

    return _beginning(ready(), incomplete)
