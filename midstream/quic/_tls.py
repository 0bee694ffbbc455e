"""TLS of one connection: aioquic's handshake, with what a server and a careful client need besides.

aioquic verifies a server's certificate and leaves a client's unchecked, resumes sessions whoever
asks, and lets one handshake message grow to 16 MiB. `Context` is its class with these parts
replaced; `install` puts it in place right after aioquic made its own.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import struct
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, final

from aioquic import tls
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from midstream._core.errors import ArgumentValueError
from midstream._core.validate import did_you_mean
from midstream.quic._trust import Refusal, Trust, ascii_name, check_dates, trust_of

if TYPE_CHECKING:
    from aioquic._buffer import Buffer
    from aioquic.quic.connection import QuicConnection

    from midstream.quic.config import Config

__all__: list[str] = []

# RFC 9001, section 4.6.1: the only size that a QUIC server may name.
MAX_EARLY_DATA: Final = 0xFFFFFFFF
# RFC 8446, section 4.6.1: a week, whatever the server says.
MAX_TICKET_LIFETIME: Final = timedelta(days=7)
# Real chains have two to four certificates of 1 to 2 KB each. The lengths in TLS allow 16 MiB.
MAX_CHAIN: Final = 10
MAX_CERTIFICATE: Final = 16 << 10
MAX_CERTIFICATES: Final = 64 << 10
MAX_MESSAGE: Final = MAX_CERTIFICATES + 1024
MAX_HELLO: Final = 16 << 10
# A client uses a ticket once (RFC 8446, appendix C.4); two allow for two connections at once.
TICKETS: Final = 2

# AES-128 first: with the processor's instructions it is the fastest, and as strong as the rest of
# the handshake (P-256, X25519).
CIPHER_SUITES: Final = {
    "TLS_AES_128_GCM_SHA256": tls.CipherSuite.AES_128_GCM_SHA256,
    "TLS_AES_256_GCM_SHA384": tls.CipherSuite.AES_256_GCM_SHA384,
    "TLS_CHACHA20_POLY1305_SHA256": tls.CipherSuite.CHACHA20_POLY1305_SHA256,
}
# A client makes a key for each group that it offers. P-384 and X448 cost ten times X25519 and
# nobody asks for them alone; a server, which makes one key only, takes them all.
CLIENT_GROUPS: Final = [tls.Group.X25519, tls.Group.SECP256R1]
SERVER_GROUPS: Final = [
    tls.Group.X25519,
    tls.Group.SECP256R1,
    tls.Group.SECP384R1,
    tls.Group.X448,
]
SIGNATURES: Final = [
    tls.SignatureAlgorithm.ECDSA_SECP256R1_SHA256,
    tls.SignatureAlgorithm.ED25519,
    tls.SignatureAlgorithm.ECDSA_SECP384R1_SHA384,
    tls.SignatureAlgorithm.RSA_PSS_RSAE_SHA256,
    tls.SignatureAlgorithm.RSA_PSS_RSAE_SHA384,
    tls.SignatureAlgorithm.RSA_PSS_RSAE_SHA512,
    tls.SignatureAlgorithm.ED448,
    # For signatures in certificates only (RFC 8446, section 4.2.3); SHA-1 is left out.
    tls.SignatureAlgorithm.RSA_PKCS1_SHA256,
    tls.SignatureAlgorithm.RSA_PKCS1_SHA384,
    tls.SignatureAlgorithm.RSA_PKCS1_SHA512,
]


class AlertUnknownCa(tls.Alert):
    """Nobody that is trusted signed the certificate."""

    description = tls.AlertDescription.unknown_ca


class AlertCertificateRequired(tls.Alert):
    """A client that has to show a certificate showed none."""

    description = tls.AlertDescription.certificate_required


class AlertUnsupportedExtension(tls.Alert):
    """An answer to something that was not asked."""

    description = tls.AlertDescription.unsupported_extension


ALERTS: Final[dict[str, type[tls.Alert]]] = {
    "bad_certificate": tls.AlertBadCertificate,
    "certificate_expired": tls.AlertCertificateExpired,
    "unknown_ca": AlertUnknownCa,
    "unsupported_certificate": tls.AlertUnsupportedCertificate,
}


@dataclass
class Ticket(tls.SessionTicket):
    """A session that may be resumed, and what both ends knew of each other in it."""

    alpn: str | None = None
    peer_certificates: tuple[bytes, ...] = ()


@final
class Context(tls.Context):
    """The handshake of one connection; made by `install`, never by its constructor."""

    trust: Trust
    requests_certificate: bool
    requires_certificate: bool
    early_data_allowed: bool
    tickets_to_issue: int
    early_data_offered: bool
    certificate_requested: bool
    resumed_from: tls.SessionTicket | None
    has_failed: bool
    given_name: str | None

    @property
    def peer_certificates(self) -> tuple[x509.Certificate, ...]:
        """The peer's certificate and its chain, of this handshake or of the one resumed."""
        if self._peer_certificate is not None:
            return self._peer_certificate, *self._peer_certificate_chain
        ticket = self.resumed_from if self._session_resumed else None
        if isinstance(ticket, Ticket):
            return tuple(x509.load_der_x509_certificate(der) for der in ticket.peer_certificates)
        return ()

    # -- limits ------------------------------------------------------------------------------

    def handle_message(self, input_data: bytes, output_buf: dict[tls.Epoch, Buffer]) -> None:
        """Take bytes of the peer's handshake messages; what is announced too long is refused."""
        # Packets of the same flight may be read between a refusal and the CONNECTION_CLOSE that
        # tells it; the next message must never be taken as if the last had been well.
        if self.has_failed:
            raise tls.AlertUnexpectedMessage("the handshake has failed already")
        self.has_failed = True
        if len(self._receive_buffer) + len(input_data) > 2 * MAX_MESSAGE:
            raise tls.AlertDecodeError("handshake messages are too long")
        super().handle_message(input_data, output_buf)
        self._check_announced()
        self.has_failed = False

    def _check_announced(self) -> None:
        rest = self._receive_buffer
        if len(rest) >= 4:
            length = int.from_bytes(rest[1:4], "big")
            limit = MAX_MESSAGE if rest[0] == tls.HandshakeType.CERTIFICATE else MAX_HELLO
            if length > limit:
                raise tls.AlertDecodeError(
                    f"a handshake message of {length} bytes was announced, {limit} are the limit"
                )

    def _set_peer_certificate(self, certificate: tls.Certificate) -> None:
        entries = certificate.certificates
        if len(entries) > MAX_CHAIN:
            raise tls.AlertBadCertificate(
                f"{len(entries)} certificates were sent, {MAX_CHAIN} are the limit"
            )
        sizes = [len(der) for der, _ in entries]
        if max(sizes) > MAX_CERTIFICATE or sum(sizes) > MAX_CERTIFICATES:
            raise tls.AlertBadCertificate(
                f"certificates of {sum(sizes)} bytes were sent, the largest {max(sizes)}: too long"
            )
        super()._set_peer_certificate(certificate)

    # -- the client's side -------------------------------------------------------------------

    def _client_send_hello(self, output_buf: Buffer) -> None:
        ticket = self.session_ticket
        if ticket is not None and not self._is_usable(ticket):
            self.session_ticket = ticket = None
        self.resumed_from = ticket
        self.early_data_offered = ticket is not None and ticket.max_early_data_size is not None
        super()._client_send_hello(output_buf)

    def _is_usable(self, ticket: tls.SessionTicket) -> bool:
        # A PSK of a suite that is not offered would have to be refused by the server.
        return ticket.is_valid and ticket.cipher_suite in self._cipher_suites

    def _client_handle_encrypted_extensions(self, input_buf: Buffer) -> None:
        super()._client_handle_encrypted_extensions(input_buf)
        if not self.early_data_accepted:
            return
        # RFC 8446, section 4.2.10: only of the session that was offered, and with its protocol.
        if not (self.early_data_offered and self._session_resumed):
            raise AlertUnsupportedExtension("early data was accepted that nobody offered")
        ticket = self.resumed_from
        if isinstance(ticket, Ticket) and ticket.alpn != self.alpn_negotiated:
            raise tls.AlertIllegalParameter(
                f"early data of {ticket.alpn!r} was accepted as {self.alpn_negotiated!r}"
            )

    def _client_handle_certificate_request(self, input_buf: Buffer) -> None:
        super()._client_handle_certificate_request(input_buf)
        self.certificate_requested = True

    def _client_handle_certificate_verify(self, input_buf: Buffer) -> None:
        self._check_peer("server")
        super()._client_handle_certificate_verify(input_buf)

    def _check_peer(self, purpose: Any) -> None:
        assert self._peer_certificate is not None
        try:
            self.trust.check(
                self._peer_certificate, self._peer_certificate_chain, purpose, self._server_name
            )
        except Refusal as refusal:
            whose = "client " if purpose == "client" else ""
            raise ALERTS[refusal.alert](whose + refusal.reason) from refusal

    def _check_certificate_verify_signature(self, verify: tls.CertificateVerify) -> None:
        try:
            super()._check_certificate_verify_signature(verify)
        except tls.AlertDecryptError as alert:
            if alert.args:
                raise
            raise tls.AlertDecryptError(
                "certificate's owner did not prove to have its key: the signature is wrong"
            ) from alert

    # -- the server's side -------------------------------------------------------------------

    def _server_handle_hello(
        self, input_buf: Buffer, initial_buf: Buffer, handshake_buf: Buffer
    ) -> None:
        super()._server_handle_hello(input_buf, initial_buf, handshake_buf)
        # A resumed session has the certificate of the one before it and asks for none again
        # (RFC 8446, section 2.2); aioquic would wait for it for ever.
        if self._session_resumed and self.state == tls.State.SERVER_EXPECT_CERTIFICATE:
            self._server_expect_finished()

    def _server_handle_certificate(self, input_buf: Buffer) -> None:
        super()._server_handle_certificate(input_buf)
        # Whatever is refused here is refused for good: see `handle_message`.
        if self._peer_certificate is None:
            if self.requires_certificate:
                raise AlertCertificateRequired("client certificate is required and none was sent")
            return
        # Before the signature: a chain that is not trusted needs no look at the rest.
        self._check_peer("client")

    def _server_handle_finished(self, input_buf: Buffer, output_buf: Buffer) -> None:
        super()._server_handle_finished(input_buf, output_buf)
        if self.new_session_ticket_cb is None or self._new_session_ticket is None:
            return
        first = self._new_session_ticket
        for number in range(1, self.tickets_to_issue):
            # One nonce, one secret (RFC 8446, section 4.6.1).
            label, age_add = _random_ticket()
            message = replace(
                first, ticket=label, ticket_age_add=age_add, ticket_nonce=bytes([number])
            )
            tls.push_new_session_ticket(output_buf, message)
            self.new_session_ticket_cb(
                self._build_session_ticket(message, self.handshake_extensions)
            )

    def fetch_ticket(self, label: bytes) -> tls.SessionTicket | None:
        """Take a ticket out of the server's store if this connection may resume its session."""
        ticket: tls.SessionTicket | None = self._fetch(label)
        if ticket is None or not self._may_resume(ticket):
            return None
        self.resumed_from = ticket
        return ticket

    def _may_resume(self, ticket: tls.SessionTicket) -> bool:
        if not isinstance(ticket, Ticket):
            return not self.requires_certificate
        if not ticket.peer_certificates:
            return not self.requires_certificate
        # Its dates may have passed since.
        try:
            check_dates(x509.load_der_x509_certificate(ticket.peer_certificates[0]))
        except Refusal:
            return False
        return True

    def take_traffic_key(
        self,
        direction: tls.Direction,
        epoch: tls.Epoch,
        cipher_suite: tls.CipherSuite,
        secret: bytes,
    ) -> None:
        """Hand a key to the connection, unless it is for early data that is not taken."""
        if (
            epoch is tls.Epoch.ZERO_RTT
            and direction is tls.Direction.DECRYPT
            and not self._takes_early_data()
        ):
            # Without its key early data cannot be read and is dropped; the client, which reads in
            # EncryptedExtensions that it was not accepted, sends it again after the handshake.
            self.early_data_accepted = False
            return
        self._install_key(direction, epoch, cipher_suite, secret)

    def _takes_early_data(self) -> bool:
        ticket = self.resumed_from
        return (
            self.early_data_allowed
            and isinstance(ticket, Ticket)
            and ticket.max_early_data_size is not None
            # RFC 8446, section 4.2.10.
            and ticket.alpn == self.alpn_negotiated
        )

    # -- tickets -----------------------------------------------------------------------------

    def _build_session_ticket(
        self, new_session_ticket: tls.NewSessionTicket, other_extensions: list[tls.Extension]
    ) -> tls.SessionTicket:
        plain = super()._build_session_ticket(new_session_ticket, other_extensions)
        certificates = self.peer_certificates
        until = min(plain.not_valid_after, plain.not_valid_before + MAX_TICKET_LIFETIME)
        if certificates and self.trust.check_chain:
            # Nobody is trusted for longer than its certificate says.
            until = min(until, certificates[0].not_valid_after_utc)
        return Ticket(
            age_add=plain.age_add,
            cipher_suite=plain.cipher_suite,
            not_valid_after=until,
            not_valid_before=plain.not_valid_before,
            resumption_secret=plain.resumption_secret,
            # As it was given: aioquic compares it with what is given next time.
            server_name=self.given_name,  # type: ignore[arg-type] # None on a server, as there
            ticket=plain.ticket,
            max_early_data_size=plain.max_early_data_size,
            other_extensions=list(plain.other_extensions),
            alpn=self.alpn_negotiated,
            peer_certificates=tuple(
                one.public_bytes(serialization.Encoding.DER) for one in certificates
            ),
        )

    # What `install` puts behind the two callbacks above.
    _fetch: Any
    _install_key: Any


def _random_ticket() -> tuple[bytes, int]:
    label = os.urandom(64)
    return label, struct.unpack("!I", os.urandom(4))[0]


def install(protocol: QuicConnection, config: Config) -> Context:
    """Replace the TLS context that aioquic made in ``_initialize`` by one that follows `config`.

    Parameters
    ----------
    protocol : aioquic.quic.connection.QuicConnection
        Right after ``_initialize``, before its first handshake message.
    config : Config
        Its trust, identity, pins, client certificates, cipher suites and early data count here.

    Returns
    -------
    Context
        Also ``protocol.tls``.

    Raises
    ------
    ArgumentValueError
        Settings that cannot be: no name to check a server's certificate against, client
        certificates without anyone who may have signed them, an unknown cipher suite.
    """
    plain = protocol.tls
    is_client = plain._is_client
    context = Context.__new__(Context)
    context.__dict__.update(plain.__dict__)

    check_chain = not (is_client and config.insecure_skip_verify)
    context.trust = trust_of(config.ca, tuple(config.pins), check_chain=check_chain)
    context.requests_certificate = not is_client and config.client_certificates != "none"
    context.requires_certificate = not is_client and config.client_certificates == "required"
    context.early_data_allowed = config.early_data
    context.tickets_to_issue = TICKETS
    context.early_data_offered = False
    context.certificate_requested = False
    context.resumed_from = None
    context.has_failed = False
    context.given_name = context._server_name

    # The parent's own check is switched off: `Context` does it, with reasons and pins.
    context._verify_mode = 0  # ssl.CERT_NONE
    context._cipher_suites = cipher_suites(tuple(config.cipher_suites))
    context._signature_algorithms = list(SIGNATURES)
    context._supported_groups = list(CLIENT_GROUPS if is_client else SERVER_GROUPS)
    context._request_client_certificate = context.requests_certificate
    if context.requests_certificate and not context.trust.has_anchors:
        raise ArgumentValueError(
            f"client_certificates is {config.client_certificates!r} and neither ca nor pins is "
            "given: any public certificate would do"
        )
    if is_client:
        if context._server_name is not None:
            context._server_name = ascii_name(context._server_name)
        elif context.trust.needs_name:
            raise ArgumentValueError(
                "server_name must be given to check the server's certificate, got None"
            )
        ticket = context.session_ticket
        if ticket is not None and not config.early_data:
            context.session_ticket = replace(ticket, max_early_data_size=None)
    else:
        context._max_early_data = MAX_EARLY_DATA if config.early_data else None
    if config.identity is not None:
        context.certificate = config.identity.certificate
        context.certificate_chain = list(config.identity.chain)
        context.certificate_private_key = config.identity.private_key

    context._fetch = context.get_session_ticket_cb
    if context._fetch is not None:
        context.get_session_ticket_cb = context.fetch_ticket
    context._install_key = context.update_traffic_key_cb
    context.update_traffic_key_cb = context.take_traffic_key
    protocol.tls = context
    return context


def cipher_suites(names: tuple[str, ...]) -> list[tls.CipherSuite]:
    """TLS 1.3 cipher suites by their registered names, in order of preference.

    Raises
    ------
    ArgumentValueError
        A name that is none of them.
    """
    if not names:
        return list(CIPHER_SUITES.values())
    found = []
    for name in names:
        if name not in CIPHER_SUITES:
            hint = did_you_mean(name, list(CIPHER_SUITES))
            raise ArgumentValueError(f"cipher_suites: unknown suite {name!r}{hint}")
        if CIPHER_SUITES[name] not in found:
            found.append(CIPHER_SUITES[name])
    return found


def ticket_key(config: Config, host: str, port: int) -> str:
    """Under which a client's tickets are kept: who was asked, and on which terms of trust.

    A session that was made without verification, or under other pins, as somebody else or with
    other protocols, is never resumed where it would count for more than it does.
    """
    terms = hashlib.sha256()
    anchors: bytes | str
    if isinstance(config.ca, bytes):
        anchors = hashlib.sha256(config.ca).hexdigest()
    else:
        anchors = str(config.ca)
    identity = None if config.identity is None else config.identity.sha256
    terms.update(
        repr(
            (
                anchors,
                sorted(config.pins),
                config.insecure_skip_verify,
                identity,
                tuple(config.alpn),
            )
        ).encode()
    )
    name = config.server_name if config.server_name is not None else host
    return f"{ascii_name(name)} {host} {port} {terms.hexdigest()[:32]}"


def awaits_confirmation(protocol: QuicConnection) -> bool:
    """Whether a client should wait for HANDSHAKE_DONE before it calls itself connected.

    A client that was asked for its certificate has finished its handshake before the server has
    looked at it; only the server's confirmation says that it was taken.
    """
    context = protocol.tls
    return isinstance(context, Context) and context.certificate_requested


# What is overridden or set above, with the arguments that it is called with; the version of
# aioquic that this was written against is pinned, and still a wheel may differ.
METHODS: Final = {
    "handle_message": ("self", "input_data", "output_buf"),
    "_set_peer_certificate": ("self", "certificate"),
    "_client_send_hello": ("self", "output_buf"),
    "_client_handle_encrypted_extensions": ("self", "input_buf"),
    "_client_handle_certificate_request": ("self", "input_buf"),
    "_client_handle_certificate_verify": ("self", "input_buf"),
    "_check_certificate_verify_signature": ("self", "verify"),
    "_server_handle_hello": ("self", "input_buf", "initial_buf", "handshake_buf"),
    "_server_handle_certificate": ("self", "input_buf"),
    "_server_expect_finished": ("self",),
    "_server_handle_finished": ("self", "input_buf", "output_buf"),
    "_build_session_ticket": ("self", "new_session_ticket", "other_extensions"),
}
ATTRIBUTES: Final = (
    "_cipher_suites",
    "_is_client",
    "_max_early_data",
    "_new_session_ticket",
    "_peer_certificate",
    "_peer_certificate_chain",
    "_receive_buffer",
    "_request_client_certificate",
    "_server_name",
    "_session_resumed",
    "_signature_algorithms",
    "_supported_groups",
    "_verify_mode",
    "alpn_negotiated",
    "certificate",
    "certificate_chain",
    "certificate_private_key",
    "early_data_accepted",
    "get_session_ticket_cb",
    "new_session_ticket_cb",
    "session_ticket",
    "update_traffic_key_cb",
)


def check_hooks() -> list[str]:
    """What of aioquic's TLS is not as `Context` needs it, one line each; empty if all is well."""
    wrong = []
    for name, expected in METHODS.items():
        method = getattr(tls.Context, name, None)
        if method is None:
            wrong.append(f"aioquic.tls.Context.{name} is missing")
            continue
        found = tuple(inspect.signature(method).parameters)
        if found != expected:
            wrong.append(f"aioquic.tls.Context.{name} takes {found}, not {expected}")
    sample = tls.Context(is_client=True)
    wrong.extend(
        f"aioquic.tls.Context has no attribute {name}"
        for name in ATTRIBUTES
        if not hasattr(sample, name)
    )
    wrong.extend(
        f"aioquic.tls.{name} is missing"
        for name in ("push_new_session_ticket", "NewSessionTicket", "SessionTicket")
        if not hasattr(tls, name)
    )
    return wrong
