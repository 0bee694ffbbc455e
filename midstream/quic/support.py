"""What this machine grants to QUIC: the parts below it, and the system calls that speed it up."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import socket
from dataclasses import dataclass

__all__ = ["Capabilities", "capabilities"]


@dataclass(frozen=True)
class Capabilities:
    """What `capabilities` found.

    Attributes
    ----------
    aioquic : str
        Its version, which has all that is relied on.
    batched : bool
        Whether many datagrams pass in one call (recvmmsg, sendmmsg).
    segmentation : bool
        Whether the kernel cuts one buffer into datagrams (UDP_SEGMENT, "GSO").
    coalescing : bool
        Whether it hands datagrams of one source out in one buffer (UDP_GRO).
    uvloop : bool
        Whether `run` finds uvloop.
    """

    aioquic: str
    batched: bool
    segmentation: bool
    coalescing: bool
    uvloop: bool


def capabilities() -> Capabilities:
    """Say what QUIC stands on here, by asking a socket of this machine.

    Returns
    -------
    Capabilities
        Everything works without any of the grants, only slower.

    Raises
    ------
    ImportError
        Where the aioquic that is installed differs inside from the one this was written for.

    Examples
    --------
    >>> from midstream.quic import capabilities
    >>> capabilities().aioquic.startswith("1.7")
    True
    """
    from midstream.quic import _udp
    from midstream.quic._hooks import check_hooks

    check_hooks()
    segmentation = coalescing = False
    batched = bool(_udp.AVAILABLE)
    if batched:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            port = _udp.Socket(sock)
            segmentation, coalescing = bool(port.gso), bool(port.gro)
    return Capabilities(
        aioquic=importlib.metadata.version("aioquic"),
        batched=batched,
        segmentation=segmentation,
        coalescing=coalescing,
        uvloop=importlib.util.find_spec("uvloop") is not None,
    )
