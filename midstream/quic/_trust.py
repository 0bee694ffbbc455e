"""Whether a peer's certificate is taken, and if not, why: dates, names, pins, chain, purpose.

The chain is built and checked by OpenSSL, as for every other TLS connection of this machine; what
is decided here is which authorities count, what a pin replaces, and the words of a refusal.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import ipaddress
import ssl
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, final

import certifi
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import crypto

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.quic.certificates import (
    MIN_RSA_BITS,
    certificate_names,
    load_certificates,
    spki_pin,
)

__all__: list[str] = []

Purpose = Literal["server", "client"]

# Names of an attacker's certificate end up in messages, in logs and in the CONNECTION_CLOSE frame,
# which has to fit into one packet.
MAX_NAMES_TOLD: Final = 3
MAX_TOLD: Final = 48
PURPOSES: Final = {
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
}
WEAK_HASHES: Final = (hashes.MD5, hashes.SHA1)
# OpenSSL's verification results (x509_vfy.h) that have better words than OpenSSL's own.
NOT_YET_VALID: Final = 9
EXPIRED: Final = 10
UNKNOWN_ISSUER: Final = (2, 20, 21)
SELF_SIGNED: Final = (18, 19)


class Refusal(Exception):  # noqa: N818 - it never leaves the package: a TLS alert is made of it
    """Why a certificate is not taken, and the alert that says so (RFC 8446, section 6.2)."""

    def __init__(self, alert: str, reason: str) -> None:
        super().__init__(reason)
        self.alert = alert
        self.reason = reason


@final
class Trust:
    """What one `Config` trusts; made once and used by all of its connections, from any thread."""

    def __init__(
        self, ca: str | Path | bytes | None, pins: tuple[str, ...], *, check_chain: bool = True
    ) -> None:
        self.certificate_pins, self.spki_pins = parse_pins(pins)
        self.check_chain = check_chain
        self._store: crypto.X509Store | None = None
        self._ca = ca
        if ca is not None and check_chain:
            self._store = _store_of(ca)  # a file that cannot be read is told now

    @property
    def has_pins(self) -> bool:
        """Whether a certificate has to match a pin."""
        return bool(self.certificate_pins or self.spki_pins)

    @property
    def has_anchors(self) -> bool:
        """Whether authorities or pins were named, so that not every public one counts."""
        return self._ca is not None or self.has_pins

    @property
    def needs_name(self) -> bool:
        """Whether a server's name has to be known to check its certificate."""
        return self.check_chain and not (self.certificate_pins and not self.spki_pins)

    def check(
        self,
        certificate: x509.Certificate,
        chain: list[x509.Certificate],
        purpose: Purpose,
        server_name: str | None,
    ) -> None:
        """Take a peer's certificate, or raise `Refusal`.

        A ``cert-sha256`` pin names one certificate, so chain and name say nothing more; its dates
        still count, as with browsers' ``serverCertificateHashes``. An SPKI pin is checked beside
        chain and name, against every certificate of the verified chain (RFC 7469, section 2.6).
        """
        if not self.check_chain:
            self._check_pins(certificate, [certificate, *chain])
            return
        check_dates(certificate)
        if self._is_pinned(certificate):
            return
        if self.certificate_pins and not self.spki_pins:
            self._check_pins(certificate, [certificate])
        try:
            if purpose == "server":
                _check_name(certificate, server_name)
            verified = self._verify_chain(certificate, chain)
            _check_strength(certificate, verified)
            _check_purpose(verified, purpose)
        except ValueError as error:  # extensions are parsed when they are looked at
            raise Refusal("bad_certificate", f"certificate cannot be read: {error}") from error
        self._check_pins(certificate, verified)

    def _is_pinned(self, certificate: x509.Certificate) -> bool:
        return bool(self.certificate_pins) and _digest(certificate) in self.certificate_pins

    def _check_pins(self, certificate: x509.Certificate, chain: list[x509.Certificate]) -> None:
        if not self.has_pins or self._is_pinned(certificate):
            return
        if self.spki_pins and any(_pin_of(one) in self.spki_pins for one in chain):
            return
        # Any certificate of the chain would do; its own are what a reader looks for first.
        raise Refusal(
            "bad_certificate",
            f"certificate matches no pin: it has {_pin_of(certificate) or 'a key of unknown kind'} "
            f"and cert-sha256:{_digest(certificate)}",
        )

    def _verify_chain(
        self, certificate: x509.Certificate, chain: list[x509.Certificate]
    ) -> list[x509.Certificate]:
        try:
            return self._verified(certificate, chain)
        except crypto.Error as error:  # keys are read when they are looked at
            reason = error.args[0][-1][-1] if error.args and error.args[0] else "no reason is told"
            raise Refusal("bad_certificate", f"certificate cannot be read: {reason}") from error

    def _verified(
        self, certificate: x509.Certificate, chain: list[x509.Certificate]
    ) -> list[x509.Certificate]:
        store = self._store if self._store is not None else _system_store()
        context = crypto.X509StoreContext(
            store,
            crypto.X509.from_cryptography(certificate),
            [crypto.X509.from_cryptography(one) for one in chain],
        )
        try:
            verified = context.get_verified_chain()
        except crypto.X509StoreContextError as error:
            raise _refusal_of(error, certificate) from error
        return [one.to_cryptography() for one in verified]


@lru_cache(maxsize=64)
def _cached(
    ca: str | Path | bytes | None, pins: tuple[str, ...], check_chain: bool, version: object
) -> Trust:
    return Trust(ca, pins, check_chain=check_chain)


def trust_of(
    ca: str | Path | bytes | None, pins: tuple[str, ...], *, check_chain: bool = True
) -> Trust:
    """The `Trust` of these settings; parsed once, and again when the file has changed."""
    version: object = None
    if isinstance(ca, str | Path):
        state = Path(ca).stat()
        version = state.st_mtime_ns, state.st_size, state.st_ino
    return _cached(ca, pins, check_chain, version)


def parse_pins(pins: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Certificates' hashes in hexadecimal, and SPKI pins as they are written.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        A pin that is neither ``sha256/BASE64`` nor ``cert-sha256:HEX``.
    """
    if isinstance(pins, str):
        raise ArgumentTypeError(f"pins must be a tuple of pins, got the str {pins!r}")
    certificates, keys = set(), set()
    for pin in pins:
        if not isinstance(pin, str):
            raise ArgumentTypeError(f"pins must hold str, got {pin!r}")
        try:
            if pin.startswith("cert-sha256:"):
                digest = bytes.fromhex(pin[12:].replace(":", ""))
                certificates.add(digest.hex())
            elif pin.startswith("sha256/"):
                digest = base64.b64decode(pin[7:], validate=True)
                keys.add("sha256/" + base64.b64encode(digest).decode())
            else:
                digest = b""
        except (ValueError, binascii.Error):
            digest = b""
        if len(digest) != hashlib.sha256().digest_size:
            raise ArgumentValueError(
                f"pins: {pin!r} is neither 'sha256/' and base64 of 32 bytes (a public key's hash) "
                "nor 'cert-sha256:' and 64 hexadecimal digits (a certificate's)"
            )
    return frozenset(certificates), frozenset(keys)


def ascii_name(name: str) -> str:
    """A host's name as it is in certificates: IDNA, without the dot at its end.

    Raises
    ------
    ArgumentValueError
        No such name can be.
    """
    name = name.removesuffix(".")
    try:
        return str(ipaddress.ip_address(name.partition("%")[0]))
    except ValueError:
        pass
    try:
        encoded = name.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ArgumentValueError(f"server_name {name!r} is no name of a host: {error}") from None
    if not encoded or len(encoded) > 253:
        raise ArgumentValueError(f"server_name {name!r} is no name of a host")
    return encoded


def matches(pattern: str, name: str) -> bool:
    """Whether a certificate's DNS name is `name`; ``*`` stands for one whole label, the first.

    RFC 9525, section 6.3: no partial wildcards, and none in names of one or two labels' depth
    that would cover a whole top-level domain.
    """
    pattern, name = pattern.lower().removesuffix("."), name.lower()
    if not pattern.startswith("*."):
        return pattern == name
    suffix = pattern[1:]
    label, _, rest = name.partition(".")
    return bool(label) and "." in suffix[1:] and "*" not in suffix and f".{rest}" == suffix


def check_dates(certificate: x509.Certificate) -> None:
    """Refuse what is expired or not yet valid."""
    now = datetime.datetime.now(datetime.UTC)
    if now > certificate.not_valid_after_utc:
        raise Refusal(
            "certificate_expired",
            f"certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC",
        )
    if now < certificate.not_valid_before_utc:
        raise Refusal(
            "certificate_expired",
            "certificate is not valid before "
            f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC",
        )


def _check_name(certificate: x509.Certificate, server_name: str | None) -> None:
    if server_name is None:
        raise Refusal("bad_certificate", "no server name to check the certificate against")
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    try:
        address = ipaddress.ip_address(server_name)
    except ValueError:
        # The common name is no name any more (RFC 9525, section 2).
        if any(matches(one, server_name) for one in names.get_values_for_type(x509.DNSName)):
            return
    else:
        if address in names.get_values_for_type(x509.IPAddress):
            return
    own = certificate_names(certificate)
    told = ", ".join(_shorten(name) for name in own[:MAX_NAMES_TOLD])
    if len(own) > MAX_NAMES_TOLD:
        told += f" and {len(own) - MAX_NAMES_TOLD} more"
    raise Refusal(
        "bad_certificate",
        f"certificate is for {told or 'no name at all'}, not for {_shorten(server_name)}",
    )


def _check_purpose(chain: list[x509.Certificate], purpose: Purpose) -> None:
    """RFC 5280, sections 4.2.1.3 and 4.2.1.12; an authority's own purposes bind what it signs."""
    wanted = PURPOSES[purpose]
    for certificate in chain[:-1] if len(chain) > 1 else chain:
        try:
            usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except x509.ExtensionNotFound:
            continue
        if wanted not in usage and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usage:
            owner = "certificate" if certificate is chain[0] else "its authority's certificate"
            raise Refusal(
                "unsupported_certificate", f"{owner} is not for {purpose}s (extended key usage)"
            )
    try:
        bits = chain[0].extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not bits.digital_signature:
        raise Refusal("unsupported_certificate", "certificate's key is not for signing (key usage)")


def _check_strength(leaf: x509.Certificate, chain: list[x509.Certificate]) -> None:
    # A trusted root's own signature says nothing: it is trusted for being in the store.
    signed = chain[:-1] if len(chain) > 1 else []
    for certificate in signed:
        if isinstance(certificate.signature_hash_algorithm, WEAK_HASHES):
            raise Refusal(
                "bad_certificate",
                f"certificate is signed with {certificate.signature_hash_algorithm.name}, "
                "which can be forged",
            )
    for certificate in (leaf, *signed[1:]):
        try:
            key = certificate.public_key()
        except UnsupportedAlgorithm:
            raise Refusal(
                "unsupported_certificate", "certificate has a key of unknown kind"
            ) from None
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
            raise Refusal("bad_certificate", f"certificate's RSA key has only {key.key_size} bits")
        if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size < 224:
            raise Refusal("bad_certificate", f"certificate's key is on the weak {key.curve.name}")
        if isinstance(key, dsa.DSAPublicKey):
            raise Refusal("unsupported_certificate", "certificate has a DSA key")


def _refusal_of(error: crypto.X509StoreContextError, leaf: x509.Certificate) -> Refusal:
    code, depth = error.errors[0], error.errors[1]
    where = error.certificate.to_cryptography() if error.certificate is not None else leaf
    subject = _shorten(where.subject.rfc4514_string())
    whose = "certificate" if depth == 0 else f"authority {subject}"
    if code == EXPIRED:
        text = f"{whose} expired on {where.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
        return Refusal("certificate_expired", text)
    if code == NOT_YET_VALID:
        text = f"{whose} is not valid before {where.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC"
        return Refusal("certificate_expired", text)
    if code in UNKNOWN_ISSUER:
        issuer = _shorten(where.issuer.rfc4514_string())
        return Refusal(
            "unknown_ca", f"certificate's issuer is unknown: {issuer} is not among those trusted"
        )
    if code in SELF_SIGNED:
        return Refusal(
            "unknown_ca", f"certificate's issuer is unknown: {subject} signed itself, untrusted"
        )
    return Refusal("bad_certificate", f"certificate is not valid: {error.errors[2]} ({whose})")


def _shorten(text: str) -> str:
    shown = "".join(mark if mark.isprintable() else "?" for mark in text)
    return shown if len(shown) <= MAX_TOLD else f"{shown[:MAX_TOLD]}..."


def _digest(certificate: x509.Certificate) -> str:
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def _pin_of(certificate: x509.Certificate) -> str:
    try:
        return spki_pin(certificate)
    except (ValueError, UnsupportedAlgorithm):
        return ""


def _store_of(ca: str | Path | bytes) -> crypto.X509Store:
    store = crypto.X509Store()
    # Whoever names an intermediate authority or a server's own certificate trusts just that,
    # without its root.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    if not isinstance(ca, bytes) and Path(ca).is_dir():
        store.load_locations(None, str(ca))
        return store
    for certificate in load_certificates("ca", ca):
        store.add_cert(crypto.X509.from_cryptography(certificate))
    return store


@lru_cache(maxsize=1)
def _system_store() -> crypto.X509Store:
    """The machine's authorities, or Mozilla's where it has none; read once in a process.

    Reading some 150 roots takes 10 ms, several times what the rest of a handshake does.
    """
    store = crypto.X509Store()
    paths = ssl.get_default_verify_paths()
    if paths.cafile is not None:
        store.load_locations(paths.cafile, paths.capath)
    else:
        # macOS and Windows keep theirs where OpenSSL does not look.
        store.load_locations(certifi.where(), paths.capath)
    return store
