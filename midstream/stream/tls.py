"""Files of a server's certificate and key, looked at before it serves."""

from __future__ import annotations

import os
import ssl

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_path

__all__ = ["check_tls"]


def check_tls(
    tls: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None,
) -> tuple[str | None, str | None]:
    """Return the files of a certificate's chain and of its key, once both can be used.

    Parameters
    ----------
    tls : tuple of two paths, or None
        In PEM.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        It is no such tuple, or they are no certificate and its key.
    OSError
        A file cannot be read; its name is in the error.
    """
    if tls is None:
        return None, None
    if not isinstance(tls, (tuple, list)) or len(tls) != 2:
        raise ArgumentTypeError(
            f"tls must be the files of a certificate and of its key, got {tls!r:.60}"
        )
    chain, key = (check_path(f"tls[{k}]", file) for k, file in enumerate(tls))
    try:  # now, not when it is to serve
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key)
    except ssl.SSLError as error:
        raise ArgumentValueError(
            f"tls must be a certificate and its key in PEM, got {chain!r} and {key!r}: "
            f"{error.reason or 'one of them is not in PEM'}"
        ) from None
    except OSError as error:
        named = chain if not os.access(chain, os.R_OK) else key
        raise OSError(error.errno, error.strerror, named) from error
    return chain, key
