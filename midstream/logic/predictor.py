"""The calibrated probability that a running trace will end satisfied, learned from past traces."""

from __future__ import annotations

import heapq
import itertools
import json
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    UndecidedError,
)
from midstream._core.validate import check_int, check_path, check_real
from midstream.logic._chain import features
from midstream.logic._checks import as_formula
from midstream.logic._forecast import Model, Settings, as_number, as_rows
from midstream.logic._letters import Letter, Trace
from midstream.logic.automaton import compile
from midstream.logic.columns import Columns
from midstream.logic.formula import Formula
from midstream.logic.parser import parse
from midstream.logic.verdict import Verdict

__all__ = ["Guidance", "Predictor", "Reliability", "Running", "SearchResult"]

#: Format of saved predictors.
_VERSION = 1


class Guidance(NamedTuple):
    """A letter, and the probability of ending satisfied after it."""

    letter: Any
    probability: float


#: Of a saved predictor; what is packed may be a thousand times as long.
_MOST_UNPACKED_BYTES = 1 << 30
#: What numpy and zipfile raise of a damaged file; RuntimeError of one that claims to be encrypted,
#: its NotImplementedError of one that claims another compression.
_DAMAGED = (
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    RuntimeError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class Reliability:
    """How probabilities compare with outcomes, over all prefixes whose verdict was still open.

    Attributes
    ----------
    edges : (bins + 1,) float64 ndarray
        Bins of the predicted probability.
    count : (bins,) int64 ndarray
        Prefixes in each bin.
    predicted, observed : (bins,) float64 ndarray
        Mean prediction, and fraction of prefixes whose trace ended satisfied; NaN where none is.
    low, high : (bins,) float64 ndarray
        Wilson's 95 % interval of `observed`, as if prefixes were independent.
    ece : float
        Expected calibration error: mean of ``|predicted - observed|``, weighted by `count`.
    brier : float
        Mean squared error of the predictions.
    brier_base : float
        The same of the best constant.
    n_prefixes, n_final : int
        Prefixes that were judged, and those left out because their verdict was final.
    """

    edges: npt.NDArray[np.float64]
    count: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.float64]
    observed: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    ece: float
    brier: float
    brier_base: float
    n_prefixes: int
    n_final: int

    def __str__(self) -> str:
        rows = ["  predicted  observed   95 % interval   prefixes"]
        for p, o, low, high, n in zip(
            self.predicted, self.observed, self.low, self.high, self.count, strict=True
        ):
            if n:
                rows.append(f"  {p:9.3f}  {o:8.3f}  [{low:.3f}, {high:.3f}]  {n:9d}")
        rows.append(
            f"ECE {self.ece:.4f}, Brier {self.brier:.4f} (best constant {self.brier_base:.4f})"
        )
        return "\n".join(rows)

    def __repr__(self) -> str:
        return (
            f"<Reliability: ECE {self.ece:.4f}, Brier {self.brier:.4f} (best constant "
            f"{self.brier_base:.4f}), prefixes: {self.n_prefixes} in {len(self.count)} bins>"
        )


@dataclass(frozen=True)
class SearchResult:
    """What `Predictor.search` found.

    Attributes
    ----------
    letters : tuple
        Letters from the root to `node`; with the prefix they satisfy the formula.
    node : object
        The node where the search ended.
    probability : float
        Probability that a trace that goes on from there ends satisfied.
    expanded : int
        Nodes whose successors were asked for.
    """

    letters: tuple[Any, ...]
    node: Any
    probability: float
    expanded: int

    def __repr__(self) -> str:
        return (
            f"<SearchResult: path of length {len(self.letters)} to {self.node!r:.60}, probability "
            f"{self.probability:.4g}, {self.expanded} expanded>"
        )


class Predictor:
    """Probability that a running trace will end satisfied, learned from traces that have ended.

    Parameters
    ----------
    formula : Formula or str
        Its automaton is compiled; windows count steps.
    alphabet : sequence of str, optional
        Atoms that letters are told apart by, those of the formula among them. By default the
        formula's and all that occur in the traces that it is fitted to.
    letters : {"all", "at_most_one", "exactly_one"} or Formula
        Which letters occur, as for `compile`: what is final depends on it.
    strength : float, optional
        Pseudo-counts by which a distribution given automaton state and last letter is drawn to
        that given the last letter alone. By default the one that predicts each letter best from
        all others.
    max_symbols : int
        Letters that are told apart; rarer ones only by the atoms of the formula.
    folds : int
        Parts that the traces are split into for calibration.
    seed : int
        For folds and intervals.

    Notes
    -----
    The model is an absorbing Markov chain over (state of the minimal automaton, last letter) whose
    transitions are counted, smoothed by a hierarchy of Dirichlet priors, and solved for the
    probability that a trace ends in an accepting state. So what the automaton remembers and what
    the process does next both count, and some hundred traces can be enough. What the
    model lacks (longer memory, lengths that are not geometric) is corrected by a logistic
    regression on its log-odds and the position, fitted on folds that were held out.

    Where the verdict is final, the probability is exactly 0 or 1. Intervals come from models drawn
    from the posterior: they tell what few data leave open, not that traces to come may differ from
    those that were seen. Fitting is not thread-safe; any number of `Running` may use one fitted
    predictor.

    Cost: a step takes about a microsecond; fitting some seconds for a million letters.

    Examples
    --------
    >>> from midstream.logic import Predictor, parse
    >>> past = [[{"ask"}, {"answer"}]] * 30 + [[{"ask"}, {"fail"}]] * 10
    >>> predictor = Predictor(parse("G(ask -> F answer)")).fit(past)
    >>> running = predictor.start()
    >>> 0.6 < running.step({"ask"}) < 0.9
    True
    >>> running.step({"fail"}) < 0.1
    True
    >>> [guess.letter for guess in predictor.guide([{"ask"}], [{"fail"}, {"answer"}])]
    [{'answer'}, {'fail'}]
    """

    def __init__(
        self,
        formula: Formula | str,
        *,
        alphabet: Sequence[str] | None = None,
        letters: str | Formula = "all",
        strength: float | None = None,
        max_symbols: int = 256,
        folds: int = 5,
        seed: int = 0,
    ) -> None:
        formula = as_formula(formula)
        self.formula = formula
        given = None if alphabet is None else tuple(alphabet)
        if given is not None:
            lacking = [name for name in formula.atoms if name not in given]
            if lacking:
                raise ArgumentValueError(f"alphabet must have every atom, but lacks {lacking[0]!r}")
        self._settings = Settings(
            formula,
            given,
            letters,
            None if strength is None else check_real("strength", strength, low=1e-6),
            check_int("max_symbols", max_symbols, low=1, high=100_000),
            check_int("folds", folds, low=2, high=1000),
            check_int("seed", seed, low=0),
        )
        self._model: Model | None = None

    def __repr__(self) -> str:
        state = "not fitted" if self._model is None else f"fitted to {self._model.n_traces} traces"
        return f"<Predictor of {self.formula!s:.60}, {state}>"

    @property
    def _fitted(self) -> Model:
        if self._model is None:
            raise ArgumentValueError("predictor must be fitted first: fit(traces)")
        return self._model

    def fit(self, traces: Iterable[Trace | Columns]) -> Predictor:
        """Learn from traces that have ended.

        Parameters
        ----------
        traces : iterable of traces
            At least two, none empty, in the forms that `evaluate` takes. Whether each satisfies
            the formula is found here.

        Returns
        -------
        Predictor
            This one; what it had learned before is forgotten.

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            Fewer than two traces, an empty one, or a letter that `letters` rules out.
        StateLimitError
            The automaton has more than 100,000 states, or its states times the symbols are more
            than 5 million.
        """
        listed = [trace if _is_form(trace) else list(trace) for trace in _checked_traces(traces)]
        if len(listed) < 2:
            raise ArgumentValueError(f"traces must be at least two, got {len(listed)}")
        alphabet = self._settings.alphabet
        if alphabet is None:
            names = dict.fromkeys(self.formula.atoms)
            extra = {name for trace in listed for name in _names_of(trace)} - set(names)
            signals = set(self.formula.signals)
            alphabet = (*names, *sorted(extra - signals))
        else:
            # The formula's atoms first: rare letters are told apart by these bits.
            rest = [name for name in alphabet if name not in set(self.formula.atoms)]
            alphabet = (*self.formula.atoms, *rest)
        automaton = compile(self.formula, alphabet=alphabet, letters=self._settings.letters)
        self._model = Model.fitted(self._settings, automaton, listed)
        return self

    def start(self) -> Running:
        """Watch a new trace.

        Returns
        -------
        Running
        """
        return Running(self._fitted)

    def probability(self, prefix: Trace) -> float:
        """Probability that a trace that has begun so far ends satisfied.

        Parameters
        ----------
        prefix : sequence of letters
            May be empty.

        Returns
        -------
        float
        """
        return self._after(prefix).probability

    def _after(self, prefix: Trace | Running) -> Running:
        if isinstance(prefix, Running):
            return prefix.copy()
        running = self.start()
        for letter in _letters_of(prefix, running._model):
            running.step(letter)
        return running

    def guide(self, prefix: Trace | Running, letters: Iterable[Letter]) -> list[Guidance]:
        """Rank what could come next.

        Parameters
        ----------
        prefix : sequence of letters, or Running
            What came so far; a Running is not changed.
        letters : iterable of letters

        Returns
        -------
        list of Guidance
            Most probable first; equal ones in the order given.
        """
        running = self._after(prefix)
        ranked = [Guidance(letter, running.copy().step(letter)) for letter in letters]
        return sorted(ranked, key=lambda guess: -guess.probability)

    def search(
        self,
        root: Hashable,
        successors: Callable[[Any], Iterable[tuple[Letter, Hashable]]],
        *,
        prefix: Trace | Running = (),
        max_expansions: int = 100_000,
        guided: bool = True,
    ) -> SearchResult | None:
        """Find a way through a graph whose letters satisfy the formula when it ends.

        Parameters
        ----------
        root : hashable
            A node of a graph: a state of a simulator, a position, a plan.
        successors : callable
            Node -> iterable of (letter, node).
        prefix : sequence of letters, or Running
            Letters before the root.
        max_expansions : int
            Nodes whose successors may be asked for.
        guided : bool
            Most probable first; otherwise breadth first, to compare.

        Returns
        -------
        SearchResult or None
            None: every node that can be reached was tried, no way satisfies the formula.

        Raises
        ------
        UndecidedError
            `max_expansions` nodes were expanded, and there are more.

        Notes
        -----
        Best first on the predicted probability. Nodes are told apart together with the state of
        the automaton, so that the answer None is a proof; a way is not always a shortest one.

        Examples
        --------
        >>> from midstream.logic import Predictor, parse
        >>> past = [[{"a"}, {"b"}], [{"a"}, {"c"}], [{"b"}, {"c"}], [{"c"}, {"b"}]]
        >>> predictor = Predictor(parse("F(a & F b)")).fit(past)
        >>> moves = {0: [({"c"}, 1), ({"a"}, 2)], 1: [({"b"}, 3)], 2: [({"b"}, 3)], 3: []}
        >>> predictor.search(0, moves.__getitem__).letters
        ({'a'}, {'b'})
        """
        max_expansions = check_int("max_expansions", max_expansions, low=1)
        first = self._after(prefix)
        model = first._model
        if first.position and model.accepting[first._state]:
            return SearchResult((), root, first.probability, 0)
        order = itertools.count()
        # Entries: priority, age, running, node, path as a linked list.
        queue: list[tuple[float, int, Running, Hashable, Any]] = [
            (0.0, next(order), first, root, None)
        ]
        seen = {(root, first._state)}
        expanded = 0
        while queue:
            _, _, running, node, path = heapq.heappop(queue)
            if expanded == max_expansions:
                raise UndecidedError(
                    f"no way found within max_expansions={max_expansions}; "
                    f"{len(queue) + 1} nodes are left"
                )
            expanded += 1
            for letter, successor in successors(node):
                after = running.copy()
                probability = after.step(letter)
                state = after._state
                way = (letter, path)
                if model.accepting[state]:
                    return SearchResult(_unwound(way), successor, probability, expanded)
                if (successor, state) in seen or model.colours[state] == Verdict.FALSE:
                    continue
                seen.add((successor, state))
                priority = -probability if guided else 0.0
                heapq.heappush(queue, (priority, next(order), after, successor, way))
        return None

    def reliability(self, traces: Iterable[Trace | Columns], *, bins: int = 10) -> Reliability:
        """Compare predictions with outcomes on traces that have ended.

        Parameters
        ----------
        traces : iterable of traces
            Others than those it was fitted to, or the answer is too good.
        bins : int
            Bins of equal width.

        Returns
        -------
        Reliability
            Over all non-empty prefixes whose verdict was still open.

        Examples
        --------
        >>> from midstream.logic import Predictor, parse
        >>> past = [[{"ask"}, {"answer"}]] * 30 + [[{"ask"}, set()]] * 10
        >>> table = Predictor(parse("F answer")).fit(past).reliability(past)
        >>> table.ece < 0.05, table.brier < table.brier_base
        (True, True)
        """
        bins = check_int("bins", bins, low=1, high=10_000)
        model = self._fitted
        data = model.encode([t if _is_form(t) else list(t) for t in _checked_traces(traces)])
        if data.labels.size == 0:
            raise ArgumentValueError("traces must not be empty")
        lengths = np.diff(data.starts)
        position = np.arange(data.symbols.size) - np.repeat(data.starts[:-1], lengths) + 1
        p = model.predicted(data.states, model.contexts_of(data.symbols), position)
        label = np.repeat(data.labels, lengths)
        open_ = np.isnan(model.fixed[data.states])
        p, label = p[open_], label[open_]
        n = int(p.size)
        edges = np.linspace(0.0, 1.0, bins + 1)
        bin_ = np.minimum((p * bins).astype(np.intp), bins - 1)
        count = np.bincount(bin_, minlength=bins)
        with np.errstate(invalid="ignore", divide="ignore"):
            predicted = np.bincount(bin_, p, bins) / count
            observed = np.bincount(bin_, label, bins) / count
            z = 1.959964
            centre = (observed + z * z / (2 * count)) / (1 + z * z / count)
            half = z * np.sqrt(observed * (1 - observed) / count + (z / (2 * count)) ** 2)
            half /= 1 + z * z / count
        gaps = np.where(count > 0, np.abs(predicted - observed), 0.0)
        return Reliability(
            edges=edges,
            count=count.astype(np.int64),
            predicted=predicted,
            observed=observed,
            low=np.clip(centre - half, 0, 1),
            high=np.clip(centre + half, 0, 1),
            ece=float(gaps @ count / n) if n else 0.0,
            brier=float(np.mean((p - label) ** 2)) if n else 0.0,
            brier_base=float(np.var(label)) if n else 0.0,
            n_prefixes=n,
            n_final=int(open_.size - n),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted predictor to a file of numpy's ``.npz`` format.

        Parameters
        ----------
        path : str or path
            Nothing is appended to it.
        """
        model = self._fitted
        settings = self._settings._asdict()
        settings["formula"] = str(self.formula)
        if isinstance(self._settings.letters, Formula):
            settings["letters"] = {"formula": str(self._settings.letters)}
        about = {
            "version": _VERSION,
            "settings": settings,
            "alphabet": model.automaton.alphabet,
            "symbols": [hex(mask) for mask in model.symbol_masks],
            "exact": model.n_exact,
            "n_traces": model.n_traces,
            "chosen": model.chain.strength,
        }
        with open(check_path("path", path), "wb") as file:  # noqa: PTH123 - any path
            np.savez_compressed(
                file,
                about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
                following=model.following,
                colours=model.automaton.colours,
                row=model.chain.row,
                outcome=model.chain.outcome,
                counts=model.chain.counts,
                weights=model.weights,
                covariance=model.covariance,
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Predictor:
        """Read a predictor that `save` wrote.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        Predictor

        Raises
        ------
        ArgumentValueError
            Not such a file, or of another version.
        OSError
            It cannot be read.
        """
        name = check_path("path", path)
        try:
            with open(name, "rb") as raw, np.load(raw, allow_pickle=False) as file:  # noqa: PTH123
                if sum(one.file_size for one in file.zip.infolist()) > _MOST_UNPACKED_BYTES:
                    raise ArgumentValueError(
                        f"path {name!r} unpacks to more than {_MOST_UNPACKED_BYTES:,} bytes"
                    )
                arrays = {key: file[key] for key in file.files}
            about = json.loads(arrays["about"].tobytes())
            version = about["version"]
        except ArgumentValueError:
            raise
        except _DAMAGED as error:
            raise ArgumentValueError(f"path {name!r} is no saved predictor") from error
        if version != _VERSION:
            raise ArgumentValueError(f"path {name!r} has version {version!r}, not {_VERSION}")
        try:
            settings = about["settings"]
            letters = settings["letters"]
            if isinstance(letters, dict):
                settings["letters"] = parse(letters["formula"])
            made = cls(parse(settings.pop("formula")), **settings)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ArgumentValueError(f"path {name!r} is no saved predictor") from error
        made._model = Model.loaded(made._settings, about, arrays, name)
        return made


class Running:
    """A trace that is being watched; made by `Predictor.start`.

    Not thread-safe; `copy` is cheap.
    """

    __slots__ = ("_context", "_model", "_state", "position")

    _model: Model
    _state: int
    _context: int
    #: Letters so far.
    position: int

    def __init__(self, model: Model) -> None:
        self._model = model
        self.reset()

    def reset(self) -> None:
        """Begin a new trace."""
        self._state = 0
        self._context = self._model.n_symbols
        self.position = 0

    def copy(self) -> Running:
        """The same trace, to go on separately."""
        other = object.__new__(Running)
        other._model = self._model
        other._state = self._state
        other._context = self._context
        other.position = self.position
        return other

    def step(self, letter: Letter) -> float:
        """Go on by one letter.

        Parameters
        ----------
        letter : set or sequence of str, mapping of str to bool or number, or int
            As for `Formula.holds`; bits of a mask are those of the alphabet.

        Returns
        -------
        float
            Probability that the trace will end satisfied; exactly 0 or 1 where that is certain.

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            No letter, or one that `letters` rules out; nothing has changed then.
        """
        model = self._model
        known = None
        if type(letter) is set or type(letter) is frozenset:
            known = model.cache.get(frozenset(letter))
        context, mask = model.look_up(letter) if known is None else known
        if context < model.n_symbols:
            state = model.rows[self._state][context]
        else:
            state = model.walk(self._state, mask)
        if state >= model.n_states:
            raise ArgumentValueError(f"letter must be one that can occur, not {letter!r:.60}")
        self._state = state
        self._context = context
        self.position += 1
        return self.probability

    @property
    def probability(self) -> float:
        """Probability that the trace will end satisfied."""
        model = self._model
        z = model.odds[self._state][self._context]
        if z != z:
            return model.certain[self._state]
        a, b, c, d = model.coefficients
        odds = a + b * z + (c + d * z) * math.log1p(self.position)
        # Where a verdict is open, neither outcome is certain: 30 is near the last odds below 1.
        return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, odds))))

    @property
    def interval(self) -> tuple[float, float]:
        """Where the probability lies with 90 % certainty, given how few data there were."""
        model = self._model
        z = model.odds[self._state][self._context]
        if z != z:
            return (model.certain[self._state],) * 2
        spread, corrections = model.drawn()
        x = features(np.array(z), np.array(self.position))
        # Draws differ from the mean by as much after calibration: its slope is less certain.
        odds = x @ model.weights + corrections @ x + spread[:, self._state, self._context] - z
        low, high = np.quantile(1.0 / (1.0 + np.exp(-odds)), (0.05, 0.95))
        here = self.probability
        return float(min(low, here)), float(max(high, here))

    @property
    def verdict(self) -> Verdict:
        """What is certain by now."""
        return Verdict(int(self._model.colours[self._state]))

    def __repr__(self) -> str:
        return f"<Running trace of {self.position} letters, probability {self.probability:.3f}>"


def _unwound(way: Any) -> tuple[Any, ...]:
    letters = []
    while way is not None:
        letter, way = way
        letters.append(letter)
    return tuple(reversed(letters))


def _is_form(trace: Any) -> bool:
    """Whether a trace can be read more than once."""
    return isinstance(trace, (Columns, np.ndarray, list, tuple, dict)) or hasattr(trace, "items")


def _checked_traces(traces: Iterable[Any]) -> Iterator[Any]:
    if isinstance(traces, (str, bytes, Columns, dict, Running)) or not isinstance(traces, Iterable):
        raise ArgumentTypeError(
            f"traces must be an iterable of traces, not {type(traces).__name__}"
        )
    return iter(traces)


def _names_of(trace: Any) -> Iterable[str]:
    if isinstance(trace, Columns) or hasattr(trace, "items"):
        return set(trace)
    if isinstance(trace, np.ndarray):
        return ()
    return {
        name
        for letter in trace
        if isinstance(letter, Iterable)
        for name in letter
        if isinstance(name, str)
    }


def _letters_of(prefix: Any, model: Model) -> Iterable[Any]:
    if isinstance(prefix, Columns) or hasattr(prefix, "items"):
        return [as_number(row) for row in as_rows(prefix, model.automaton)]
    letters: Iterable[Any] = iter(prefix)
    return letters
