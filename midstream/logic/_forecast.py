"""What a fitted predictor knows: symbols, tables of states and probabilities."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentValueError, StateLimitError
from midstream.logic._chain import Chain, Encoded, calibrated, features, logit
from midstream.logic._letters import Letter, as_mask, as_masks
from midstream.logic.automaton import Automaton, compile
from midstream.logic.columns import Columns
from midstream.logic.formula import Formula
from midstream.logic.verdict import Verdict

__all__ = ["Model", "Settings", "as_number", "as_rows"]

#: Entries of the table of probabilities: 160 MB of Python floats.
_MAX_TABLE = 5_000_000
#: Prefixes that calibration is fitted on, at most; more change nothing.
_MAX_PREFIXES = 200_000
#: Models that intervals are taken from.
_DRAWS = 60
#: Letters that `Running` remembers.
_MAX_CACHE = 65_536


class Settings(NamedTuple):
    """What a predictor was asked for."""

    formula: Formula
    alphabet: tuple[str, ...] | None
    letters: str | Formula
    strength: float | None
    max_symbols: int
    folds: int
    seed: int


class Model:
    """What a fitted predictor knows.

    Tables are lists of lists where `Running` reads them: an element of an array takes longer.
    """

    chain: Chain
    weights: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]
    coefficients: tuple[float, float, float, float]
    mean: npt.NDArray[np.float64]
    logits: npt.NDArray[np.float64]
    odds: list[list[float]]
    rows: list[list[int]]

    def __init__(
        self,
        settings: Settings,
        automaton: Automaton,
        symbol_masks: list[int],
        n_exact: int,
        n_traces: int,
    ) -> None:
        self.automaton = automaton
        self.seed = settings.seed
        self.n_traces = n_traces
        self.n_states = automaton.n_states
        self.accepting = automaton.accepting.tolist()
        self.colours = automaton.colours.tolist()
        self.fixed = np.full(self.n_states, np.nan)
        self.fixed[automaton.colours == Verdict.TRUE] = 1.0
        self.fixed[automaton.colours == Verdict.FALSE] = 0.0
        self.certain: list[float] = self.fixed.tolist()
        #: Masks of the symbols; from n_exact on, of the formula's atoms alone, for rare letters.
        self.symbol_masks = symbol_masks
        self.n_exact = n_exact
        self.n_symbols = len(symbol_masks)
        if self.n_states * (self.n_symbols + 2) > _MAX_TABLE:
            raise StateLimitError(
                f"a table of {self.n_states} states and {self.n_symbols} symbols is over "
                f"{_MAX_TABLE} entries: max_symbols bounds the symbols",
                limit=_MAX_TABLE,
            )
        self.formula_bits = (1 << len(settings.formula.atoms)) - 1
        self.symbol_of = {mask: index for index, mask in enumerate(symbol_masks[:n_exact])}
        self.rare_of = {
            mask: index for index, mask in enumerate(symbol_masks[n_exact:], start=n_exact)
        }
        self.cache: dict[frozenset[str], tuple[int, int]] = {}
        self.following = self._following()
        self._draws: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None

    def _following(self) -> npt.NDArray[np.intp]:
        """The state after each symbol: (states, symbols)."""
        automaton = self.automaton
        names = len(automaton.alphabet)
        bits = np.array(
            [[mask >> bit & 1 for bit in range(names)] for mask in self.symbol_masks],
            dtype=np.intp,
        ).reshape(self.n_symbols, names)
        at = np.repeat(automaton.roots.astype(np.intp)[:, None], self.n_symbols, axis=1)
        nodes = automaton.nodes.astype(np.intp)
        while (inner := at >= 0).any():
            state, symbol = np.nonzero(inner)
            node = nodes[at[state, symbol]]
            side = 1 + bits[symbol, node[:, 0]]
            at[state, symbol] = node[np.arange(side.size), side]
        return ~at

    @classmethod
    def fitted(cls, settings: Settings, automaton: Automaton, traces: list[Any]) -> Model:
        masks, starts = _stacked(traces, automaton)
        distinct, inverse, count = np.unique(masks, axis=0, return_inverse=True, return_counts=True)
        numbers = [as_number(row) for row in distinct]
        order = np.argsort(-count, kind="stable")
        exact = [numbers[k] for k in order[: settings.max_symbols]]
        formula_bits = (1 << len(settings.formula.atoms)) - 1
        rare = dict.fromkeys(numbers[k] & formula_bits for k in order[settings.max_symbols :])
        model = cls(settings, automaton, [*exact, *rare], len(exact), len(traces))
        of_distinct = np.array([model.symbol(number) for number in numbers], dtype=np.intp)
        data = model._encoded(masks, starts, of_distinct[inverse.ravel()])
        model.chain = model._chain(Chain.count(data, model.n_symbols), settings.strength)
        model._finish(*model._calibration(data, settings))
        return model

    @classmethod
    def loaded(cls, settings: Settings, about: Any, arrays: dict[str, Any], name: str) -> Model:
        try:
            automaton = compile(
                settings.formula, alphabet=about["alphabet"], letters=settings.letters
            )
            symbols = [int(text, 16) for text in about["symbols"]]
            model = cls(settings, automaton, symbols, about["exact"], about["n_traces"])
            if not np.array_equal(model.following, arrays["following"]) or not np.array_equal(
                automaton.colours, arrays["colours"]
            ):
                raise ArgumentValueError(
                    f"path {name!r} was saved by a version whose automata differ: fit it again"
                )
            counted = tuple(arrays[key].astype(np.intp) for key in ("row", "outcome", "counts"))
            model.chain = model._chain(counted, about["chosen"])
            model._finish(
                np.asarray(arrays["weights"], dtype=np.float64),
                np.asarray(arrays["covariance"], dtype=np.float64),
            )
        except ArgumentValueError:
            raise
        except (KeyError, TypeError, IndexError, ValueError, OverflowError) as error:
            raise ArgumentValueError(f"path {name!r} is no saved predictor") from error
        return model

    def _chain(self, counted: Any, strength: float | None) -> Chain:
        return Chain(counted, self.following, self.automaton.accepting, self.fixed, strength)

    def _finish(
        self, weights: npt.NDArray[np.float64], covariance: npt.NDArray[np.float64]
    ) -> None:
        self.weights = weights
        self.covariance = covariance
        a, b, c, d = weights.tolist()
        self.coefficients = (a, b, c, d)
        self.mean = self.chain.mean()
        self.logits = np.where(np.isnan(self.fixed)[:, None], logit(self.mean), np.nan)
        self.odds = self.logits.tolist()
        self.rows = self.following.tolist()

    def drawn(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Models from the posterior: log-odds (draws, states, contexts), shifts of the weights."""
        if self._draws is None:
            rng = np.random.default_rng(self.seed)
            spread = [logit(self.chain.draw(rng, self.mean)) for _ in range(_DRAWS)]
            shifts = rng.multivariate_normal(np.zeros(4), self.covariance, _DRAWS)
            self._draws = np.stack(spread), shifts
        return self._draws

    def symbol(self, mask: int) -> int:
        """Index of a letter's symbol; n_symbols + 1 of one that was never seen."""
        found = self.symbol_of.get(mask)
        if found is None:
            found = self.rare_of.get(mask & self.formula_bits, self.n_symbols + 1)
        return found

    def look_up(self, letter: Letter) -> tuple[int, int]:
        """Context and mask of a letter; remembered where it is a set."""
        automaton = self.automaton
        mask = as_mask(letter, automaton.alphabet, automaton.predicates)
        known = (self.symbol(mask), mask)
        if isinstance(letter, (set, frozenset)):
            if len(self.cache) >= _MAX_CACHE:
                self.cache.clear()
            self.cache[frozenset(letter)] = known
        return known

    def walk(self, state: int, mask: int) -> int:
        """The state after a letter that has no symbol."""
        return self.automaton.step(state, mask)

    def contexts_of(self, symbols: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        return np.where(symbols < 0, self.n_symbols + 1, symbols)

    def predicted(
        self,
        states: npt.NDArray[np.intp],
        contexts: npt.NDArray[np.intp],
        position: npt.NDArray[np.intp],
    ) -> npt.NDArray[np.float64]:
        z = self.logits[states, contexts]
        odds = np.clip(features(z, position) @ self.weights, -30.0, 30.0)
        p = 1.0 / (1.0 + np.exp(-odds))
        result: npt.NDArray[np.float64] = np.where(np.isnan(z), self.fixed[states], p)
        return result

    def encode(self, traces: list[Any]) -> Encoded:
        masks, starts = _stacked(traces, self.automaton)
        distinct, inverse = np.unique(masks, axis=0, return_inverse=True)
        found = np.array([self.symbol(as_number(row)) for row in distinct], dtype=np.intp)
        found[found > self.n_symbols] = -1
        return self._encoded(masks, starts, found[inverse.ravel()])

    def _encoded(
        self,
        masks: npt.NDArray[np.uint64],
        starts: npt.NDArray[np.intp],
        symbols: npt.NDArray[np.intp],
    ) -> Encoded:
        # All traces at once, one letter after the other.
        states = np.empty(len(masks), dtype=np.intp)
        lengths = np.diff(starts)
        here = np.zeros(lengths.size, dtype=np.intp)
        for position in range(int(lengths.max(initial=0))):
            going = np.flatnonzero(lengths > position)
            at = starts[going] + position
            here[going] = states[at] = self._walk_all(here[going], masks[at])
            illegal = going[here[going] >= self.n_states]
            if illegal.size:
                raise ArgumentValueError(
                    f"traces[{illegal[0]}] has a letter at {position} that cannot occur"
                )
        labels = self.automaton.accepting[states[starts[1:] - 1]]
        return Encoded(starts, symbols, states, labels)

    def _walk_all(
        self, states: npt.NDArray[np.intp], masks: npt.NDArray[np.uint64]
    ) -> npt.NDArray[np.intp]:
        """The state after a letter, for many states and their letters."""
        at = self.automaton.roots.astype(np.intp)[states]
        nodes = self.automaton.nodes
        while (inner := np.flatnonzero(at >= 0)).size:
            node = nodes[at[inner]].astype(np.intp)
            word, bit = np.divmod(node[:, 0], 64)
            side = masks[inner, word] >> bit.astype(np.uint64) & np.uint64(1)
            at[inner] = node[np.arange(inner.size), 1 + side.astype(np.intp)]
        return ~at

    def _calibration(
        self, data: Encoded, settings: Settings
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Fit on folds that were held out."""
        n = data.labels.size
        folds = min(settings.folds, n)
        fold = np.arange(n) % folds
        np.random.default_rng(settings.seed).shuffle(fold)
        parts = []
        for k in range(folds):
            held = data.part(fold == k)
            rest = Chain.count(data.part(fold != k), self.n_symbols)
            value = self._chain(rest, self.chain.strength).mean()
            lengths = np.diff(held.starts)
            position = np.arange(held.symbols.size) - np.repeat(held.starts[:-1], lengths) + 1
            p = value[held.states, self.contexts_of(held.symbols)]
            open_ = np.isnan(self.fixed[held.states])
            label = np.repeat(held.labels, lengths)
            parts.append((logit(p)[open_], position[open_], label[open_]))
            begin = np.full(held.labels.size, value[0, self.n_symbols])
            parts.append((logit(begin), np.zeros(begin.size, dtype=np.intp), held.labels))
        z, position, label = (np.concatenate(column) for column in zip(*parts, strict=True))
        if z.size > _MAX_PREFIXES:
            some = np.random.default_rng(settings.seed).choice(z.size, _MAX_PREFIXES, False)
            z, position, label = z[some], position[some], label[some]
        return calibrated(z, position, label, n)


def as_number(row: npt.NDArray[np.uint64]) -> int:
    return int.from_bytes(row.astype("<u8").tobytes(), "little")


def as_rows(trace: Any, automaton: Automaton) -> npt.NDArray[np.uint64]:
    """(n, words)."""
    if isinstance(trace, Columns):
        trace = {name: trace[name] for name in automaton.alphabet if name in trace}
    masks = as_masks(trace, automaton.alphabet, automaton.predicates)
    return masks[:, None] if masks.ndim == 1 else masks


def _stacked(
    traces: list[Any], automaton: Automaton
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.intp]]:
    """All letters, (letters, words), and where each trace starts, and the end."""
    masks = []
    for index, trace in enumerate(traces):
        found = as_rows(trace, automaton)
        if len(found) == 0:
            raise ArgumentValueError(f"traces[{index}] must have at least one position")
        masks.append(found)
    if not masks:
        return np.zeros((0, 1), dtype=np.uint64), np.zeros(1, dtype=np.intp)
    starts = np.concatenate([[0], np.cumsum([len(part) for part in masks])]).astype(np.intp)
    return np.ascontiguousarray(np.concatenate(masks)), starts
