"""Identities: made, loaded, saved; authorities: what they sign and what they refuse."""

from __future__ import annotations

import base64
import datetime
import hashlib
import os
import stat
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.quic.certificates import Authority, Identity


def test_a_development_certificate_is_what_browsers_take_by_its_hash():
    identity = Identity.development()
    certificate = identity.certificate
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert certificate.public_key().curve.name == "secp256r1"
    now = datetime.datetime.now(datetime.UTC)
    assert identity.not_before < now < identity.not_after
    assert identity.not_after - identity.not_before <= datetime.timedelta(days=14)
    assert identity.names == ("localhost", "127.0.0.1", "::1")
    assert identity.chain == ()
    assert identity.sha256 == hashlib.sha256(identity.der).hexdigest()
    assert bytes.fromhex(identity.sha256) == identity.sha256_bytes
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    expected = base64.b64encode(hashlib.sha256(spki).digest()).decode()
    assert identity.spki_pin == f"sha256/{expected}"
    assert identity.certificate_pin == f"cert-sha256:{identity.sha256}"
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.SERVER_AUTH in usage


def test_two_development_certificates_share_no_key_and_no_number():
    one, other = Identity.development(), Identity.development()
    assert one != other
    assert one.certificate.serial_number != other.certificate.serial_number
    assert one.spki_pin != other.spki_pin
    assert one == Identity(one.certificate, one.private_key)
    assert len({one, other, one}) == 2


@pytest.mark.parametrize("days", [0, 15, 10**9])
def test_days_of_a_development_certificate_are_bounded(days):
    with pytest.raises(ArgumentValueError, match="days must be at"):
        Identity.development(days=days)


@pytest.mark.parametrize("names", [(), ("",), ("a b",), ("münchen.example",), ("x" * 300,)])
def test_names_that_are_none_are_refused(names):
    with pytest.raises(ArgumentValueError, match="names"):
        Identity.development(names)


def test_one_text_is_no_list_of_names():
    with pytest.raises(ArgumentTypeError, match="several names"):
        Identity.development("localhost")


@pytest.mark.parametrize("password", [None, "secret", b"secret"])
def test_what_was_saved_is_loaded(tmp_path, password):
    identity = Authority.development().intermediate().issue(["localhost"])
    certificate, key = identity.save(tmp_path / "new", password=password)
    loaded = Identity.load(certificate, key, password=password)
    assert loaded == identity
    assert len(loaded.chain) == 1
    if os.name == "posix":
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert sorted(one.name for one in (tmp_path / "new").iterdir()) == [
        "certificate.pem",
        "key.pem",
    ]


def test_one_file_or_its_bytes_may_hold_both(tmp_path):
    identity = Identity.development()
    certificate, key = identity.save(tmp_path)
    both = certificate.read_bytes() + key.read_bytes()
    assert Identity.load(both) == identity
    assert Identity.load(key.read_bytes() + certificate.read_bytes()) == identity
    (tmp_path / "both.pem").write_bytes(both)
    assert Identity.load(str(tmp_path / "both.pem")) == identity


def test_a_key_that_needs_a_password_says_so(tmp_path):
    certificate, key = Identity.development().save(tmp_path, password="right")
    with pytest.raises(ArgumentValueError, match="encrypted: give password"):
        Identity.load(certificate, key)
    with pytest.raises(ArgumentValueError, match="password is wrong"):
        Identity.load(certificate, key, password="wrong")
    certificate, key = Identity.development().save(tmp_path)
    with pytest.raises(ArgumentValueError, match="is not encrypted"):
        Identity.load(certificate, key, password="right")


def test_files_without_what_was_looked_for_are_named(tmp_path):
    certificate, key = Identity.development().save(tmp_path)
    with pytest.raises(ArgumentValueError, match=r"key: no private key in .*certificate\.pem"):
        Identity.load(certificate)
    with pytest.raises(ArgumentValueError, match=r"certificate: no certificate in .*key\.pem"):
        Identity.load(key)
    with pytest.raises(ArgumentValueError, match="no readable PEM"):
        Identity.load(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(FileNotFoundError):
        Identity.load(tmp_path / "absent.pem")
    large = tmp_path / "large.pem"
    large.write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(ArgumentValueError, match="larger than"):
        Identity.load(large)


def test_the_key_of_another_certificate_is_refused():
    one, other = Identity.development(), Identity.development()
    with pytest.raises(ArgumentValueError, match="does not belong"):
        Identity(one.certificate, other.private_key)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ec.generate_private_key(ec.SECP521R1()), "P-256 or P-384, got one on secp521r1"),
        (lambda: rsa.generate_private_key(65537, 1024), "2048 bits or more, got RSA of 1024"),
    ],
)
def test_keys_that_tls_cannot_sign_with_are_refused(make, message):
    with pytest.raises(ArgumentValueError, match=message):
        Identity(Identity.development().certificate, make())


@pytest.mark.skipif(sys.platform == "win32", reason="files there have no such modes")
def test_a_saved_key_is_never_readable_by_others_even_for_a_moment(tmp_path):
    before = os.umask(0)
    try:
        _, key = Identity.development().save(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_the_key_is_not_shown():
    identity = Identity.development()
    number = identity.private_key.private_numbers().private_value
    for shown in (repr(identity), str(identity), f"{identity}"):
        assert "localhost" in shown
        assert identity.sha256 in shown
        assert str(number) not in shown
        assert f"{number:x}" not in shown
        assert "PRIVATE" not in shown
    assert b"PRIVATE" not in identity.pem


def test_what_an_authority_signs_is_for_what_it_says():
    authority = Authority.development()
    server = authority.issue(["a.example", "*.b.example", "10.0.0.1"], usage="server")
    client = authority.issue(common_name="sensor 7", usage="client")
    assert server.names == ("a.example", "*.b.example", "10.0.0.1")
    assert client.names == ()
    assert client.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == (
        "sensor 7"
    )
    for identity, purposes in (
        (server, [ExtendedKeyUsageOID.SERVER_AUTH]),
        (client, [ExtendedKeyUsageOID.CLIENT_AUTH]),
    ):
        identity.certificate.verify_directly_issued_by(authority.certificate)
        extensions = identity.certificate.extensions
        usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(usage) == purposes
        assert identity.not_before >= authority.identity.not_before


def test_an_authority_may_be_saved_and_loaded(tmp_path):
    authority = Authority.development("mine")
    files = authority.identity.save(tmp_path)
    again = Authority(Identity.load(*files))
    again.issue(["localhost"]).certificate.verify_directly_issued_by(authority.certificate)
    assert "mine" in repr(again)


def test_a_certificate_that_may_not_sign_makes_no_authority():
    with pytest.raises(ArgumentValueError, match="may not sign others"):
        Authority(Identity.development())


def test_ed25519_authorities_sign_too():
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ed")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, None)
    )
    authority = Authority(Identity(certificate, key))
    authority.issue(["localhost"]).certificate.verify_directly_issued_by(certificate)


def test_arguments_of_issue_are_checked():
    authority = Authority.development()
    with pytest.raises(ArgumentValueError, match="usage must be one of"):
        authority.issue(["a"], usage="mail")
    with pytest.raises(ArgumentValueError, match="time zone"):
        authority.issue(["a"], not_before=datetime.datetime(2026, 1, 1))
    with pytest.raises(ArgumentValueError, match="common_name"):
        authority.issue(["a"], common_name="")
    with pytest.raises(ArgumentValueError, match="names must hold at least one name"):
        authority.issue(usage="server")
