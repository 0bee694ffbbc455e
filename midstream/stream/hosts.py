"""The value of a ``Host`` header, by which a server knows under which name it was asked."""

from __future__ import annotations

import re

__all__ = ["host_name"]

#: A name, or an address in brackets, and perhaps a port: nothing that a URL has beside these.
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\x00-\x20\x7f\[\]:@/?#\\]+))(?::[0-9]{0,5})?")


def host_name(value: str) -> str | None:
    """Name or address in a value of ``Host``, in lower case, without brackets and port.

    Parameters
    ----------
    value : str

    Returns
    -------
    str or None
        None where the value is none: a user before the name, a port that is no number, more than
        one name.

    Notes
    -----
    A page of elsewhere is told from one's own by it, so what reads in two ways is not read at all.

    Examples
    --------
    >>> host_name("LocalHost:8790"), host_name("[::1]:80"), host_name("evil.example@localhost")
    ('localhost', '::1', None)
    """
    found = _HOST.fullmatch(value.strip(" \t").lower())
    if found is None:
        return None
    return found[1] or found[2]
