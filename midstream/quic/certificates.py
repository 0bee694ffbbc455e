"""Who one end is: a certificate, its chain and its key, loaded or made here.

`Identity` is what a server shows, and what a client shows when it is asked. `Authority` is a small
certification authority for development and tests: it signs server and client certificates that
expire soon.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import ipaddress
import os
import secrets
import tempfile
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_choice, check_int, check_path, check_text

__all__ = ["Authority", "Identity"]

PrivateKey = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)
Usage = Literal["server", "client", "both"]

# What browsers take by serverCertificateHashes (W3C WebTransport, section "custom certificate
# requirements"): at most two weeks between notBefore and notAfter.
MAX_BROWSER_DAYS: Final = 14
MAX_DAYS: Final = 825
# A clock that is behind by less than this still takes a certificate that was made just now.
BACKDATED: Final = datetime.timedelta(minutes=1)
# Files of certificates are small; a path given by mistake may be a recording of gigabytes.
MAX_PEM: Final = 1 << 20
MIN_RSA_BITS: Final = 2048
CERTIFICATE_FILE: Final = "certificate.pem"
KEY_FILE: Final = "key.pem"


@final
class Identity:
    """A certificate with its chain and its private key; immutable, safe to share between threads.

    Made by `load` from PEM, by `development` for one's own machine, or by `Authority.issue`.
    A server's goes into ``Config(identity=...)``, and so does the one that a client shows to
    servers that ask for it.

    Parameters
    ----------
    certificate : cryptography.x509.Certificate
        The end's own certificate.
    private_key
        Its key, of `cryptography`: elliptic curve (P-256 or P-384), RSA of 2048 bits or more,
        Ed25519 or Ed448: what TLS 1.3 can sign with (RFC 8446, section 4.2.3).
    chain : sequence of cryptography.x509.Certificate, default ()
        Intermediate certificates, each signing the one before; the root may be left out.

    Raises
    ------
    ArgumentTypeError
        The key is of a kind that cannot sign in TLS 1.3.
    ArgumentValueError
        The key belongs to another certificate, or is too short.

    Examples
    --------
    >>> from midstream.quic import Identity
    >>> identity = Identity.development()
    >>> identity.names
    ('localhost', '127.0.0.1', '::1')
    >>> identity.spki_pin[:7]
    'sha256/'
    """

    def __init__(
        self,
        certificate: x509.Certificate,
        private_key: PrivateKey,
        chain: Sequence[x509.Certificate] = (),
    ) -> None:
        if not isinstance(certificate, x509.Certificate):
            raise ArgumentTypeError(
                f"certificate must be a cryptography.x509.Certificate, got {type(certificate)!r}"
            )
        private_key = _check_key(private_key)
        try:
            public = certificate.public_key()
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ArgumentValueError(
                f"certificate has a key that cannot be used: {error}"
            ) from None
        if _spki(public) != _spki(private_key.public_key()):
            raise ArgumentValueError(
                f"private_key does not belong to the certificate of {_subject(certificate)}"
            )
        self._certificate = certificate
        self._private_key = private_key
        self._chain = tuple(chain)

    @classmethod
    def load(
        cls,
        certificate: str | os.PathLike[str] | bytes,
        key: str | os.PathLike[str] | bytes | None = None,
        *,
        password: str | bytes | None = None,
    ) -> Identity:
        """Load a certificate, its chain and its key from PEM.

        Parameters
        ----------
        certificate : path or bytes
            A file, or its content: the end's own certificate first, then its chain.
        key : path or bytes, optional
            The private key; by default it is looked for beside the certificates.
        password : str or bytes, optional
            What the key is encrypted with.

        Returns
        -------
        Identity

        Raises
        ------
        ArgumentValueError
            No certificate or no key in there, a wrong password, or a key of another certificate.
        OSError
            A file cannot be read.
        """
        pem, place = _read("certificate", certificate)
        certificates = _load_certificates("certificate", pem, place)
        if key is not None:
            pem, place = _read("key", key)
        secret = password.encode() if isinstance(password, str) else password
        if b"PRIVATE KEY-----" not in pem:
            raise ArgumentValueError(f"key: no private key in {place}")
        try:
            private = serialization.load_pem_private_key(_key_block(pem), password=secret)
        except TypeError:  # an encrypted key without a password, or the other way round
            wanted = "is encrypted: give password" if secret is None else "is not encrypted"
            raise ArgumentValueError(f"key: the private key in {place} {wanted}") from None
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ArgumentValueError(
                f"key: the private key in {place} cannot be read, or its password is wrong: {error}"
            ) from None
        return cls(certificates[0], _check_key(private), certificates[1:])

    @classmethod
    def development(
        cls,
        names: Iterable[str] = ("localhost", "127.0.0.1", "::1"),
        days: int = MAX_BROWSER_DAYS,
    ) -> Identity:
        """Make a self-signed certificate for one's own machine.

        The key is P-256 and the certificate valid from a minute ago for at most 14 days, which is
        what browsers ask of one that they take by ``serverCertificateHashes``. Other clients of
        midstream trust it by ``Config(ca=identity.pem)`` or
        ``Config(pins=("cert-sha256:" + identity.sha256,))``.

        Parameters
        ----------
        names : iterable of str, default ("localhost", "127.0.0.1", "::1")
            DNS names and IP addresses under which the server is reached.
        days : int, default 14
            How long it is valid, 1 to 14.

        Returns
        -------
        Identity

        Notes
        -----
        About 0.2 ms. The certificate is for servers and clients alike.
        """
        days = check_int("days", days, low=1, high=MAX_BROWSER_DAYS)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _make(
            names=_names("names", names),
            common_name="midstream development",
            usage="both",
            lifetime=datetime.timedelta(days=days),
            not_before=None,
            key=key.public_key(),
            issuer=None,
            issuer_key=key,
        )
        return cls(certificate, key)

    @property
    def certificate(self) -> x509.Certificate:
        """The end's own certificate."""
        return self._certificate

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """The intermediate certificates that are sent with it."""
        return self._chain

    @property
    def private_key(self) -> PrivateKey:
        """The private key."""
        return self._private_key

    @cached_property
    def names(self) -> tuple[str, ...]:
        """DNS names and IP addresses that the certificate is for."""
        return certificate_names(self._certificate)

    @cached_property
    def der(self) -> bytes:
        """The certificate in DER."""
        return self._certificate.public_bytes(serialization.Encoding.DER)

    @cached_property
    def pem(self) -> bytes:
        """The certificate and its chain in PEM, without the key: what others may trust."""
        return b"".join(
            one.public_bytes(serialization.Encoding.PEM)
            for one in (self._certificate, *self._chain)
        )

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the certificate's DER in hexadecimal, as in ``serverCertificateHashes``."""
        return self.sha256_bytes.hex()

    @cached_property
    def sha256_bytes(self) -> bytes:
        """The same 32 bytes as they are."""
        return hashlib.sha256(self.der).digest()

    @cached_property
    def spki_pin(self) -> str:
        """``sha256/`` and base64 of the hash of the public key: a pin that outlives renewals."""
        return spki_pin(self._certificate)

    @cached_property
    def certificate_pin(self) -> str:
        """``cert-sha256:`` and `sha256`: a pin of this very certificate."""
        return f"cert-sha256:{self.sha256}"

    @property
    def not_before(self) -> datetime.datetime:
        """From when the certificate is valid (UTC)."""
        return self._certificate.not_valid_before_utc

    @property
    def not_after(self) -> datetime.datetime:
        """Until when the certificate is valid (UTC)."""
        return self._certificate.not_valid_after_utc

    def save(
        self, folder: str | os.PathLike[str], *, password: str | bytes | None = None
    ) -> tuple[Path, Path]:
        """Write ``certificate.pem`` (with the chain) and ``key.pem`` into a folder.

        Each file is replaced at once or not at all; only the owner may read the key (0600).

        Parameters
        ----------
        folder : path
            Made if it does not exist.
        password : str or bytes, optional
            Encrypts the key.

        Returns
        -------
        tuple of pathlib.Path
            The certificate's file and the key's.
        """
        place = Path(check_path("folder", folder))
        secret = password.encode() if isinstance(password, str) else password
        pem = self._private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()
            if secret is None
            else serialization.BestAvailableEncryption(secret),
        )
        place.mkdir(parents=True, exist_ok=True)
        files = place / CERTIFICATE_FILE, place / KEY_FILE
        replace_file(files[0], self.pem, mode=0o644)
        replace_file(files[1], pem, mode=0o600)
        return files

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Identity):
            return NotImplemented
        return (self._certificate, self._chain) == (other._certificate, other._chain)

    def __hash__(self) -> int:
        return hash(self.sha256_bytes)

    def __repr__(self) -> str:
        # The key is never shown, nor anything that is computed from its private half.
        return (
            f"Identity(names={self.names!r}, not_after='{self.not_after:%Y-%m-%d %H:%M} UTC', "
            f"sha256={self.sha256!r})"
        )


@final
class Authority:
    """A certification authority for development and tests: it signs certificates that expire soon.

    Trust is given to it by ``Config(ca=authority.pem)``: at the client for the servers that it
    signed, at the server for the clients.

    Parameters
    ----------
    identity : Identity
        A certificate that may sign others, and its key.

    Raises
    ------
    ArgumentValueError
        The certificate may not sign others.

    Examples
    --------
    >>> from midstream.quic import Authority, Config
    >>> authority = Authority.development()
    >>> server = authority.issue(["localhost"], usage="server")
    >>> client = authority.issue(common_name="sensor 7", usage="client")
    >>> at_server = Config(identity=server, ca=authority.pem, client_certificates="required")
    >>> at_client = Config(identity=client, ca=authority.pem)
    """

    def __init__(self, identity: Identity) -> None:
        if not isinstance(identity, Identity):
            raise ArgumentTypeError(f"identity must be an Identity, got {type(identity).__name__}")
        if not may_sign(identity.certificate):
            raise ArgumentValueError(
                f"identity: the certificate of {_subject(identity.certificate)} may not sign others"
            )
        self._identity = identity

    @classmethod
    def development(
        cls, name: str = "midstream development authority", days: int = 30
    ) -> Authority:
        """Make a new authority with a P-256 key.

        Parameters
        ----------
        name : str
            Its common name.
        days : int, default 30
            How long it is valid, 1 to 825.

        Returns
        -------
        Authority
        """
        days = check_int("days", days, low=1, high=MAX_DAYS)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _make(
            names=(),
            common_name=_common_name("name", name),
            usage="authority",
            lifetime=datetime.timedelta(days=days),
            # What it signs is dated back too, and must not begin before it.
            not_before=_now() - datetime.timedelta(days=1),
            key=key.public_key(),
            issuer=None,
            issuer_key=key,
        )
        return cls(Identity(certificate, key))

    @property
    def identity(self) -> Identity:
        """Its own certificate and key: to be saved, and loaded again."""
        return self._identity

    @property
    def certificate(self) -> x509.Certificate:
        """Its own certificate."""
        return self._identity.certificate

    @property
    def pem(self) -> bytes:
        """Its certificate in PEM: what ``Config(ca=...)`` takes."""
        return self._identity.pem

    def issue(
        self,
        names: Iterable[str] = (),
        *,
        common_name: str = "midstream development",
        usage: Usage = "both",
        days: int = MAX_BROWSER_DAYS,
        not_before: datetime.datetime | None = None,
    ) -> Identity:
        """Make a key and sign a certificate for it.

        Parameters
        ----------
        names : iterable of str, default ()
            DNS names and IP addresses; a server needs at least one.
        common_name : str
            What a server reads of a client, beside the names.
        usage : {"server", "client", "both"}, default "both"
            What the certificate may be shown as.
        days : int, default 14
            How long it is valid, 1 to 825.
        not_before : datetime.datetime, optional
            From when, with a time zone; by default a minute ago.

        Returns
        -------
        Identity
            With an empty chain if the authority is a root, else with the authority's own.
        """
        check_choice("usage", usage, ("server", "client", "both"))
        days = check_int("days", days, low=1, high=MAX_DAYS)
        if not_before is not None and not_before.tzinfo is None:
            raise ArgumentValueError(f"not_before must have a time zone, got {not_before!r}")
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _make(
            names=_names("names", names, empty=usage == "client"),
            common_name=_common_name("common_name", common_name),
            usage=usage,
            lifetime=datetime.timedelta(days=days),
            not_before=not_before,
            key=key.public_key(),
            issuer=self.certificate,
            issuer_key=self._identity.private_key,
        )
        is_root = self.certificate.issuer == self.certificate.subject
        chain = () if is_root else (self.certificate, *self._identity.chain)
        return Identity(certificate, key, chain)

    def intermediate(self, name: str = "midstream intermediate", days: int = 30) -> Authority:
        """Sign a certificate that may itself sign servers and clients, and nothing deeper.

        Parameters
        ----------
        name : str
            Its common name.
        days : int, default 30
            How long it is valid, 1 to 825.

        Returns
        -------
        Authority
        """
        days = check_int("days", days, low=1, high=MAX_DAYS)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _make(
            names=(),
            common_name=_common_name("name", name),
            usage="intermediate",
            lifetime=datetime.timedelta(days=days),
            not_before=None,
            key=key.public_key(),
            issuer=self.certificate,
            issuer_key=self._identity.private_key,
        )
        is_root = self.certificate.issuer == self.certificate.subject
        chain = () if is_root else (self.certificate, *self._identity.chain)
        return Authority(Identity(certificate, key, chain))

    def __repr__(self) -> str:
        return f"Authority({_subject(self.certificate)}, until {self._identity.not_after:%Y-%m-%d})"


def spki_pin(certificate: x509.Certificate) -> str:
    """``sha256/BASE64`` of the certificate's public key (RFC 7469, section 2.4)."""
    digest = hashlib.sha256(_spki(certificate.public_key())).digest()
    return "sha256/" + base64.b64encode(digest).decode()


def certificate_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """DNS names and addresses of the subject's alternative names; the common name counts not."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(
        str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress)
    )


def may_sign(certificate: x509.Certificate) -> bool:
    """Whether basic constraints and key usage let it sign certificates (RFC 5280, 4.2.1.9)."""
    extensions = certificate.extensions
    try:
        if not extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
    except x509.ExtensionNotFound:
        return False
    try:
        return extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def load_certificates(name: str, source: str | os.PathLike[str] | bytes) -> list[x509.Certificate]:
    """All certificates of a PEM file or of its bytes; at least one."""
    return _load_certificates(name, *_read(name, source))


def replace_file(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file so that others see the old content or the new, and never a part of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp made it 0600; Windows knows only the write bit.
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or ", ".join(certificate_names(certificate)) or "?"


def _spki(key: object) -> bytes:
    # Every public key of cryptography has this method, and their union type has no common base.
    return key.public_bytes(  # type: ignore[attr-defined, no-any-return]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _check_key(key: object) -> PrivateKey:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            raise ArgumentValueError(
                f"private_key must be on P-256 or P-384, got one on {key.curve.name}"
            )
    elif isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < MIN_RSA_BITS:
            raise ArgumentValueError(
                f"private_key must have {MIN_RSA_BITS} bits or more, got RSA of {key.key_size}"
            )
    elif not isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        raise ArgumentTypeError(
            "private_key must be an EC, RSA, Ed25519 or Ed448 key of cryptography, "
            f"got {type(key).__name__}"
        )
    return key


def _read(name: str, source: str | os.PathLike[str] | bytes) -> tuple[bytes, str]:
    if isinstance(source, bytes):
        return source, "the bytes given"
    path = Path(check_path(name, source))
    with path.open("rb") as file:
        data = file.read(MAX_PEM + 1)
    if len(data) > MAX_PEM:
        raise ArgumentValueError(f"{name}: {path} is larger than {MAX_PEM} bytes: no PEM file")
    return data, str(path)


def _load_certificates(name: str, pem: bytes, place: str) -> list[x509.Certificate]:
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise ArgumentValueError(f"{name}: no certificate in {place}")
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise ArgumentValueError(f"{name}: {place} holds no readable PEM ({error})") from None


def _key_block(pem: bytes) -> bytes:
    """The first private key of a file that may hold certificates and parameters before it."""
    end = pem.index(b"PRIVATE KEY-----")
    start = pem.rindex(b"-----BEGIN", 0, end)
    return pem[start:]


def _names(name: str, names: Iterable[str], *, empty: bool = False) -> tuple[str, ...]:
    if isinstance(names, str):
        raise ArgumentTypeError(f"{name} must be several names, got the str {names!r}")
    listed = tuple(check_text(name, one) for one in names)
    if not listed and not empty:
        raise ArgumentValueError(f"{name} must hold at least one name, got {listed!r}")
    for one in listed:
        if not one or not one.isascii() or len(one) > 253 or any(mark in one for mark in " /\\\0"):
            raise ArgumentValueError(
                f"{name}: {one!r} is neither a DNS name in ASCII (RFC 5890) nor an IP address"
            )
    return listed


def _common_name(name: str, value: str) -> str:
    if not 1 <= len(check_text(name, value)) <= 64:  # ub-common-name, RFC 5280, appendix A
        raise ArgumentValueError(f"{name} must have 1 to 64 characters, got {value!r}")
    return value


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _make(
    *,
    names: tuple[str, ...],
    common_name: str,
    usage: Literal["server", "client", "both", "authority", "intermediate"],
    lifetime: datetime.timedelta,
    not_before: datetime.datetime | None,
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Certificate | None,
    issuer_key: PrivateKey,
) -> x509.Certificate:
    signs = usage in ("authority", "intermediate")
    start = _now() - BACKDATED if not_before is None else not_before
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    # Positive and below 20 bytes (RFC 5280, section 4.1.2.2), and not to be guessed.
    serial = secrets.randbits(158) + 1
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(start + lifetime)
        .add_extension(
            x509.BasicConstraints(ca=signs, path_length=0 if usage == "intermediate" else None),
            critical=True,
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=not signs,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=signs,
                crl_sign=signs,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
    if issuer is not None:
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
    if not signs:
        purposes = []
        if usage in ("server", "both"):
            purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
        if usage in ("client", "both"):
            purposes.append(ExtendedKeyUsageOID.CLIENT_AUTH)
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
        )
    algorithm = (
        None
        if isinstance(issuer_key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
        else hashes.SHA256()
    )
    return builder.sign(issuer_key, algorithm)
