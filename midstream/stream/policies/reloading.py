"""Policies wherever they are wanted: sets, files that change, names of ready rules."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, MidstreamError
from midstream._core.validate import check_callback, check_path, check_real, did_you_mean
from midstream.stream.policies.compiling import PolicySet
from midstream.stream.policies.defining import Policy
from midstream.stream.policies.linting import check_tools
from midstream.stream.policies.loading import load_policies, ready_policies
from midstream.stream.policies.ready import known_rules

__all__ = ["PoliciesLike", "PolicyFile", "PolicyGroup", "as_policies", "for_many_streams"]

#: The name is public: who runs a proxy may want these messages elsewhere.
logger = logging.getLogger("midstream.stream.policies")


class PolicyFile:
    """A rule file that is read again when it changes.

    Parameters
    ----------
    path : str or path
    tools : iterable of str, optional
        As for `load_policies`.
    check_s : float, default 1.0
        Seconds after which the file is looked at again, at the earliest.
    on_problem : callable, optional
        Called with the message when a changed file cannot be used. It is logged in any case, by
        the logger ``midstream.stream.policies``.
    on_change : callable, optional
        Called with the new `version` when a changed file was read.
    **settings
        As for `load_policies`.

    Attributes
    ----------
    problem : str or None
        Why the file as it is now is not used; None where it is.
    version : int
        How often it was read with success.

    Raises
    ------
    ConfigurationError, OSError
        The file cannot be used as it is when it is first read.

    Notes
    -----
    A stream keeps the rules with which it began; those that begin after a change have the new
    ones. A file that is broken or gone changes nothing: the old rules stay. Can be shared by
    threads.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from midstream.stream import PolicyFile
    >>> path = Path(tempfile.mkdtemp()) / "rules.toml"
    >>> _ = path.write_text("[ready.token-budget]\\ntokens = 100\\n")
    >>> rules = PolicyFile(path, check_s=0)
    >>> rules.current
    <PolicySet of 1 policy>
    >>> _ = path.write_text("[ready.token-budget]\\ntoken = 5\\n")
    >>> rules.current, rules.problem.rpartition(": ")[2]
    (<PolicySet of 1 policy>, "unknown setting 'token'; did you mean 'tokens'?")
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        /,
        *,
        tools: Iterable[str] | None = None,
        check_s: float = 1.0,
        on_problem: Callable[[str], object] | None = None,
        on_change: Callable[[int], object] | None = None,
        **settings: Any,
    ) -> None:
        self.path = check_path("path", path)
        for name, call in (("on_problem", on_problem), ("on_change", on_change)):
            if call is not None:
                check_callback(name, call)
        self._tools = check_tools(tools)
        self._check_s = check_real("check_s", check_s, low=0)
        self._on_problem = on_problem
        self._on_change = on_change
        self._settings = settings
        self._lock = threading.Lock()
        self.problem: str | None = None
        self.version = 0
        self._stamp = _stamp(self.path)
        self._current = self._load()
        self._checked = time.monotonic()

    @property
    def current(self) -> PolicySet:
        """The rules for a stream that begins now."""
        if time.monotonic() - self._checked >= self._check_s:
            self.reload()
        return self._current

    def reload(self, *, force: bool = False) -> bool:
        """Read the file if it has changed.

        Parameters
        ----------
        force : bool, default False
            Even if it has not; what is wrong is told again then, too.

        Returns
        -------
        bool
            Whether there are new rules. False where the file is as it was, or cannot be used: then
            `problem` says why.
        """
        with self._lock:
            self._checked = time.monotonic()
            stamp = _stamp(self.path)
            if stamp == self._stamp and not force:
                return False
            self._stamp = stamp
            before = self.problem
            try:
                self._current = self._load()
            except (MidstreamError, OSError) as error:
                self.problem = str(error)
            else:
                self.problem = None
            problem, version = self.problem, self.version
        if problem is None:
            if self._on_change is not None:
                self._on_change(version)
            return True
        if problem != before or force:
            logger.warning("the old rules stay: %s", problem)
            if self._on_problem is not None:
                self._on_problem(problem)
        return False

    def _load(self) -> PolicySet:
        policies = load_policies(Path(self.path), tools=self._tools, **self._settings)
        compiled = PolicySet(policies)
        self.version += 1
        return compiled

    def __repr__(self) -> str:
        state = "" if self.problem is None else ", broken"
        return f"<PolicyFile {self.path!r}, version {self.version}{state}>"


class PolicyGroup:
    """Policies from several places, compiled again when a file among them has changed.

    Parameters
    ----------
    parts : iterable of PolicySet, PolicyFile, Policy, path or name

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        One is none of these, or two policies have the same name.
    ConfigurationError, OSError
        A file cannot be used.

    Notes
    -----
    Where files that were changed do not go together, such as by a name that occurs twice, the old
    rules stay, and it is logged. Can be shared by threads.
    """

    def __init__(self, parts: Iterable[Any]) -> None:
        self._parts = tuple(
            part if isinstance(part, PolicyFile) else PolicySet(_named(part)) for part in parts
        )
        self._seen = self._sets()
        self._current = PolicySet(policy for one in self._seen for policy in one)
        self._lock = threading.Lock()

    @property
    def current(self) -> PolicySet:
        """The rules for a stream that begins now."""
        sets = self._sets()
        with self._lock:
            if sets != self._seen:  # a set equals itself alone
                self._seen = sets
                try:
                    self._current = PolicySet(policy for one in sets for policy in one)
                except MidstreamError as error:
                    logger.warning("the old rules stay: %s", error)
            return self._current

    def _sets(self) -> tuple[PolicySet, ...]:
        return tuple(part.current if isinstance(part, PolicyFile) else part for part in self._parts)


#: What stands for policies wherever they are wanted.
PoliciesLike: TypeAlias = (
    PolicySet
    | PolicyFile
    | PolicyGroup
    | Policy
    | str
    | os.PathLike[str]
    | Iterable[Policy | PolicySet | PolicyFile | str | os.PathLike[str]]
)


def as_policies(value: PoliciesLike) -> PolicySet:
    """What `PoliciesLike` stands for, compiled.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        None of them.
    ConfigurationError, OSError
        A file cannot be used.
    """
    if isinstance(value, PolicySet):
        return value
    if isinstance(value, (PolicyFile, PolicyGroup)):
        return value.current
    if isinstance(value, str) and value in known_rules():
        return _ready_set(value)
    if isinstance(value, (Policy, str, os.PathLike)):
        return PolicySet(_named(value))
    if not isinstance(value, Iterable):
        raise ArgumentTypeError(
            "policies must be policies, paths of rule files or names of ready rules, got "
            f"{type(value).__name__}"
        )
    return PolicySet(policy for one in value for policy in _named(one))


def for_many_streams(value: PoliciesLike) -> PolicySet | PolicyFile | PolicyGroup:
    """What `PoliciesLike` stands for, compiled once for all streams, or when a file changes.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError, ConfigurationError, OSError
        As `as_policies`.
    """
    if isinstance(value, (PolicyFile, PolicyGroup)):
        return value
    if isinstance(value, Iterable) and not isinstance(value, (str, PolicySet)):
        parts = tuple(value)
        if any(isinstance(part, PolicyFile) for part in parts):
            return PolicyGroup(parts)
        value = parts
    return as_policies(value)


def _named(value: Any) -> Iterable[Policy]:
    if isinstance(value, Policy):
        return (value,)
    if isinstance(value, (PolicySet, PolicyFile)):
        return as_policies(value).policies
    if isinstance(value, os.PathLike):
        return load_policies(value)
    if not isinstance(value, str):
        raise ArgumentTypeError(
            "policies must be policies, paths of rule files or names of ready rules, got "
            f"{value!r:.60} ({type(value).__name__})"
        )
    known = known_rules()
    if value in known:
        return ready_policies(value)
    if value.endswith(".toml") or "/" in value or os.sep in value:
        return load_policies(Path(value))
    raise ArgumentValueError(
        f"policies: {value!r:.80} is neither a path of a .toml file nor a ready rule"
        f"{did_you_mean(value, tuple(known))}"
    )


@lru_cache(maxsize=64)
def _ready_set(name: str) -> PolicySet:
    return PolicySet(ready_policies(name))


def _stamp(path: str) -> tuple[int, int, int] | None:
    """What tells a changed file; None where there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
