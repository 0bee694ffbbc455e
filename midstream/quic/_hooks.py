"""What is relied on inside aioquic, checked when it is first used.

aioquic's connection is subclassed, not copied, so a version that renames what is overridden must be
noticed at once, in words, and not as a connection that misbehaves.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from typing import Any

__all__ = ["check_hooks"]

#: Class -> method -> names of its parameters.
METHODS: dict[str, dict[str, tuple[str, ...]]] = {
    "aioquic.quic.connection.QuicConnection": {
        "_close_begin": ("self", "is_initiator", "now"),
        "_close_end": ("self",),
        "_confirm_handshake": ("self",),
        "_handle_crypto_frame": ("self", "context", "frame_type", "buf"),
        "_idle_timeout": ("self",),
        "_initialize": ("self", "peer_cid"),
        "_parse_transport_parameters": ("self", "data", "from_session_ticket"),
        "_payload_received": ("self", "context", "plain", "crypto_frame_required"),
        "_replenish_connection_ids": ("self",),
        "_send_probe": ("self",),
        "_write_ack_frame": ("self", "builder", "space", "now"),
        "_write_application": ("self", "builder", "network_path", "now"),
        "_write_connection_close_frame": (
            "self",
            "builder",
            "epoch",
            "error_code",
            "frame_type",
            "reason_phrase",
        ),
        "_write_connection_limits": ("self", "builder", "space"),
        "change_connection_id": ("self",),
        "close": ("self", "error_code", "frame_type", "reason_phrase"),
        "datagrams_to_send": ("self", "now"),
        "get_timer": ("self",),
        "handle_timer": ("self", "now"),
        "receive_datagram": ("self", "data", "addr", "now"),
    },
    "aioquic.quic.crypto.CryptoContext": {
        "decrypt_packet": ("self", "packet", "encrypted_offset", "expected_packet_number"),
    },
    "aioquic.quic.crypto.CryptoPair": {"_update_key": ("self", "trigger"), "update_key": ("self",)},
    "aioquic.quic.recovery.QuicPacketPacer": {
        "next_send_time": ("self", "now"),
        "update_after_send": ("self", "now"),
    },
    "aioquic.quic.recovery.QuicPacketRecovery": {
        "get_probe_timeout": ("self", "include_max_ack_delay"),
        "on_ack_received": ("self", "ack_rangeset", "ack_delay", "now", "space"),
        "on_packet_sent": ("self", "packet", "space"),
    },
    "aioquic.quic.packet_builder.QuicPacketBuilder": {
        "start_frame": ("self", "frame_type", "capacity", "handler", "handler_args"),
        "start_packet": ("self", "packet_type", "crypto"),
    },
    "aioquic._crypto.HeaderProtection": {"_mask": ("self", "sample")},
}

#: Attributes that an instance must have.
CONNECTION = (
    "_ack_eliciting_sent_since_receipt",
    "_close_at",
    "_close_event",
    "_close_pending",
    "_crypto_buffers",
    "_crypto_streams",
    "_cryptos",
    "_cryptos_initial",
    "_events",
    "_handshake_complete",
    "_handshake_confirmed",
    "_handshake_done_pending",
    "_host_cids",
    "_local_max_streams_bidi",
    "_local_max_streams_uni",
    "_logger",
    "_loss",
    "_network_paths",
    "_packet_number",
    "_peer_cid",
    "_peer_cid_available",
    "_ping_pending",
    "_probe_pending",
    "_QuicConnection__frame_handlers",
    "_quic_logger",
    "_remote_max_data",
    "_remote_max_datagram_frame_size",
    "_remote_max_stream_data_bidi_local",
    "_remote_max_stream_data_bidi_remote",
    "_remote_max_stream_data_uni",
    "_remote_max_streams_bidi",
    "_remote_max_streams_uni",
    "_remote_preferred_address",
    "_retire_connection_ids",
    "_spaces",
    "_state",
    "_streams",
    "_streams_queue",
    "host_cid",
)
RECOVERY = ("_cc", "_pacer", "_rtt_initialized", "_rtt_latest", "max_ack_delay", "spaces")


def _class(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(__import__(module, fromlist=[name]), name)


def _faults() -> list[str]:
    """What is not as expected, in words."""
    faults = []
    for path, methods in METHODS.items():
        try:
            owner = _class(path)
        except (ImportError, AttributeError):
            faults.append(f"{path} is gone")
            continue
        for name, parameters in methods.items():
            method = getattr(owner, name, None)
            if method is None:
                faults.append(f"{path}.{name} is gone")
                continue
            found = tuple(inspect.signature(method).parameters)
            if found != parameters:
                faults.append(f"{path}.{name} takes {found}, not {parameters}")
    if faults:
        return faults
    from aioquic._crypto import AEAD, HeaderProtection
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import QuicConnection

    connection = QuicConnection(configuration=QuicConfiguration(is_client=True))
    faults += [
        f"QuicConnection.{name} is gone" for name in CONNECTION if not hasattr(connection, name)
    ]
    faults += [
        f"QuicPacketRecovery.{name} is gone"
        for name in RECOVERY
        if not hasattr(connection._loss, name)
    ]
    from aioquic.quic.stream import QuicStreamReceiver

    receiver = QuicStreamReceiver(stream_id=None, readable=True)
    if not hasattr(receiver, "_ranges"):
        faults.append("QuicStreamReceiver._ranges is gone")
    # Packets are sealed where they lie, and their nonces made from the IV.
    aead = AEAD(b"aes-128-gcm", bytes(16), bytes(range(12)))
    plain = bytes(range(64))
    sealed = bytearray(plain + bytes(16))
    nonce = bytes(range(11)) + bytes([11 ^ 5])
    aead._aead.encrypt_into(nonce, memoryview(sealed)[:64], b"header", sealed)
    if bytes(sealed) != aead.encrypt(plain, b"header", 5):
        faults.append("AESGCM.encrypt_into does not seal in place")
    protection = HeaderProtection(b"aes-128-ecb", bytes(16))
    masks = bytearray(32 + 15)
    protection._encryptor.update_into(bytes(32), masks)
    if protection._is_chacha20 or bytes(masks[16:32]) != protection._mask(bytes(16)):
        faults.append("HeaderProtection._encryptor does not work on many samples at once")
    return faults


def check_hooks() -> None:
    """Refuse an aioquic whose inside is not the one that this package was written for.

    Raises
    ------
    ImportError
        Naming the version, and each thing that is missing or has another signature.
    """
    faults = _faults()
    if faults:
        version = importlib.metadata.version("aioquic")
        raise ImportError(
            f"midstream.quic needs aioquic 1.7 (from 1.7.2); aioquic {version} differs inside:\n  "
            + "\n  ".join(faults)
        )
