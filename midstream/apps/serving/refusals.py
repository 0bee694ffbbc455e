"""Why a request gets no answer, as clients are told."""

from __future__ import annotations

from typing import Final

__all__ = ["Refusal"]

#: Code -> HTTP status.
STATUSES: Final[dict[str, int]] = {
    "bad_json": 400,
    "bad_request": 400,
    "unknown_kind": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method": 405,
    "timeout": 408,
    "too_large": 413,
    "rate": 429,
    "internal": 500,
    "overloaded": 503,
    "full": 503,
    "ending": 503,
    "deadline": 503,
    "busy": 503,
}


class Refusal(Exception):  # noqa: N818 - an answer like any other
    """A request that is refused.

    Parameters
    ----------
    code : str
        ``"bad_json"`` (not JSON), ``"bad_request"`` (a field is missing or wrong, beyond a limit),
        ``"unknown_kind"``, ``"unauthorized"``, ``"forbidden"`` (origin or host), ``"not_found"``,
        ``"method"``, ``"timeout"``, ``"too_large"``, ``"rate"``, ``"overloaded"`` (too much
        waits), ``"deadline"`` (it took too long), ``"busy"`` (an analysis of this client that took
        too long goes on), ``"full"`` (too many clients), ``"ending"``, ``"internal"``.
    message : str
        For people.
    retry_after_s : float, optional
        When it is worth another try.
    """

    def __init__(self, code: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """Of HTTP."""
        return STATUSES[self.code]

    def fields(self) -> dict[str, str | float]:
        """For its JSON."""
        told: dict[str, str | float] = {"code": self.code, "error": self.message}
        if self.retry_after_s is not None:
            told["retry_after_s"] = round(self.retry_after_s, 3)
        return told
