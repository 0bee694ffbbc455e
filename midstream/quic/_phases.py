"""Keys of packets that the peer sent before it learned of an update of the keys."""

from __future__ import annotations

from aioquic._crypto import AEAD, CryptoError
from aioquic.quic.crypto import CryptoContext
from aioquic.quic.packet import decode_packet_number, is_long_header

__all__ = ["ReceiveKeys"]


class ReceiveKeys(CryptoContext):
    """Keys of what the peer sends in 1-RTT packets, those before an update among them.

    aioquic forgets the old keys when it takes the new ones. What is on its way then is lost; and
    should the peer not learn of the update, since its address changed meanwhile, nothing that it
    sends can be read ever again (RFC 9001, section 6.5).

    Parameters
    ----------
    like : CryptoContext
        The context, without keys, whose place this takes.
    """

    def __init__(self, like: CryptoContext) -> None:
        super().__init__(setup_cb=self._took, teardown_cb=like._teardown_cb)
        self._tell = like._setup_cb
        self._current: AEAD | None = None
        #: The keys before the last update; None: there are none, or they are forgotten.
        self.previous: AEAD | None = None
        #: When a packet under the keys in use was first seen to have come; 0.0: not yet.
        self._confirmed_at = 0.0
        #: Whether such a packet came.
        self.confirmed = False

    def _took(self, trigger: str) -> None:
        self.previous, self._current = self._current, self.aead
        self.confirmed = False
        self._confirmed_at = 0.0
        self._tell(trigger)

    def decrypt_packet(
        self, packet: bytes, encrypted_offset: int, expected_packet_number: int
    ) -> tuple[bytes, bytes, int, bool]:
        """Decrypt under the keys in use, the next ones, or those before, by the key phase."""
        try:
            opened = super().decrypt_packet(packet, encrypted_offset, expected_packet_number)
        except CryptoError:
            if self.previous is None or self.hp is None:
                raise
            header, truncated = self.hp.remove(packet, encrypted_offset)
            if is_long_header(header[0]) or (header[0] >> 2) & 1 == self.key_phase:
                raise
            number = decode_packet_number(
                truncated, 8 * ((header[0] & 3) + 1), expected_packet_number
            )
            return (
                header,
                self.previous.decrypt(packet[len(header) :], header, number),
                number,
                False,
            )
        self.confirmed = True
        return opened

    def forget(self, now: float, patience_s: float) -> None:
        """Forget the keys before, `patience_s` after the peer was seen to use those in use."""
        if not self.confirmed:
            return
        if not self._confirmed_at:
            self._confirmed_at = now
        elif now > self._confirmed_at + patience_s:
            self.previous = None
