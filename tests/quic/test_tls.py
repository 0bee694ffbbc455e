"""Handshakes in memory: whom each end takes, whom it refuses and with which words; early data."""

from __future__ import annotations

import datetime
import hashlib

import pytest
from aioquic import tls
from aioquic.buffer import Buffer
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from midstream.errors import ArgumentTypeError, ArgumentValueError, CertificateError, HandshakeError
from midstream.quic import _tls, _trust
from midstream.quic._closing import failure_of
from midstream.quic._server_tickets import ServerTickets
from midstream.quic.certificates import Authority, Identity
from midstream.quic.config import Config
from midstream.quic.tickets import TicketStore

AUTHORITY = Authority.development()
SERVER = AUTHORITY.issue(["localhost", "127.0.0.1"], usage="server")
CLIENT = AUTHORITY.issue(common_name="sensor 7", usage="client")
STRANGER = Authority.development("stranger")


class End(QuicConnection):
    """One end of a connection with the TLS of `midstream.quic` in aioquic's transport."""

    def __init__(self, config, is_client, *, odcid=None, store=None, ticket=None, keep=None):
        self.config = config
        identity = config.identity
        configuration = QuicConfiguration(
            is_client=is_client,
            alpn_protocols=list(config.alpn),
            server_name=config.server_name,
            certificate=identity.certificate if identity else None,
            private_key=identity.private_key if identity else None,
            session_ticket=ticket,
        )
        super().__init__(
            configuration=configuration,
            original_destination_connection_id=odcid,
            session_ticket_fetcher=store.fetch if store is not None else None,
            session_ticket_handler=store.store if store is not None else keep,
        )
        self.seen = []

    def _initialize(self, peer_cid):
        super()._initialize(peer_cid)
        _tls.install(self, self.config)

    def collect(self):
        if self._close_event is not None and (at := self.get_timer()) is not None:
            self.handle_timer(at)  # the end of its closing or draining time
        while (event := self.next_event()) is not None:
            self.seen.append(event)

    def first(self, kind):
        self.collect()
        return next((event for event in self.seen if isinstance(event, kind)), None)

    @property
    def ended(self):
        event = self.first(events.ConnectionTerminated)
        assert event is not None, "the connection was not closed"
        return event


class Link:
    """A client and a server, and the datagrams between them."""

    def __init__(self, client, server, *, store=None, ticket=None, keep=None, early=b""):
        self.now = 0.0
        self.client = End(client, True, ticket=ticket, keep=keep)
        self.make_server = lambda: End(
            server,
            False,
            odcid=self.client.original_destination_connection_id,
            store=store,
        )
        self.server = self.make_server()
        self.sent = []
        self.client.connect(("server", 1), now=self.now)
        if early:
            self.client.send_stream_data(0, early, end_stream=True)

    def run(self, rounds=8):
        for _ in range(rounds):
            self.now += 0.01
            for data, _ in self.client.datagrams_to_send(self.now):
                self.sent.append(data)
                self.server.receive_datagram(data, ("client", 2), self.now)
            for data, _ in self.server.datagrams_to_send(self.now):
                self.client.receive_datagram(data, ("server", 1), self.now)
        self.client.collect()
        self.server.collect()
        return self


def at_client(**given):
    given = {"server_name": "localhost", "ca": AUTHORITY.pem} | given
    return Config(**given)


def at_server(**given):
    return Config(**({"identity": SERVER} | given))


def connected(client=None, server=None, **given):
    link = Link(client or at_client(), server or at_server(), **given).run()
    for end in (link.client, link.server):
        assert end.first(events.HandshakeCompleted), end.seen
        assert end.first(events.ConnectionTerminated) is None, end.seen
    return link


def failure(end, *, by_peer):
    return failure_of(
        code=end.ended.error_code,
        reason=end.ended.reason_phrase,
        is_application=False,
        by_peer=by_peer,
        complete=False,
        idle=False,
        was_reset=False,
        place="there",
    )()


def refused_by_client(words, code, client=None, server=None):
    link = Link(client or at_client(), server or at_server()).run()
    assert link.client.first(events.HandshakeCompleted) is None
    for end, by_peer in ((link.client, False), (link.server, True)):
        assert words in end.ended.reason_phrase
        assert end.ended.error_code == 0x100 + code
        error = failure(end, by_peer=by_peer)
        # Who lacks the key fails with decrypt_error (RFC 8446, section 4.4.3), as others do.
        assert type(error) is (HandshakeError if code == 51 else CertificateError)
        assert words in str(error)
        assert error.by_peer is by_peer
        assert error.code == end.ended.error_code
    return link


def refused_by_server(words, code, client, server):
    link = Link(client, server).run()
    assert link.server.first(events.HandshakeCompleted) is None
    for end in (link.server, link.client):
        assert words in end.ended.reason_phrase
        assert end.ended.error_code == 0x100 + code
    return link


def days_ago(days):
    return datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)


# -- the server's certificate -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "localhost.", "127.0.0.1"])
def test_a_certificate_of_a_trusted_authority_is_taken(name):
    link = connected(at_client(server_name=name))
    assert link.client.tls.peer_certificates == (SERVER.certificate,)
    assert not _tls.awaits_confirmation(link.client)


def test_aes_128_is_what_is_used_first():
    link = connected()
    suite = tls.CipherSuite.AES_128_GCM_SHA256
    assert link.client.tls.key_schedule.cipher_suite == suite


@pytest.mark.parametrize(("name", "suite"), list(_tls.CIPHER_SUITES.items()))
def test_the_suite_that_was_asked_for_is_used(name, suite):
    link = connected(at_client(cipher_suites=(name,)))
    assert link.server.tls.key_schedule.cipher_suite == suite


def test_no_common_suite():
    link = Link(
        at_client(cipher_suites=("TLS_CHACHA20_POLY1305_SHA256",)),
        at_server(cipher_suites=("TLS_AES_256_GCM_SHA384",)),
    ).run()
    assert link.client.ended.error_code == 0x100 + 40
    error = failure(link.client, by_peer=True)
    assert type(error) is HandshakeError


def test_an_unknown_suite_is_named():
    with pytest.raises(ArgumentValueError, match="did you mean 'TLS_AES_128_GCM_SHA256'"):
        _tls.cipher_suites(("TLS_AES_128_GCM_SHA265",))


@pytest.mark.parametrize("identity", ["ed25519", "p384", "rsa"])
def test_other_kinds_of_keys(identity):
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    key = {
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
    }[identity]()
    own = Identity(hand_made(key), key)
    link = connected(at_client(ca=own.pem), at_server(identity=own))
    assert link.client.tls.peer_certificates == (own.certificate,)


def hand_made(key, *, algorithm="default", names=("localhost",), extensions=()):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False
        )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    if algorithm == "default":
        algorithm = None if not hasattr(key, "key_size") else hashes.SHA256()
    return builder.sign(key, algorithm)


def test_a_self_signed_certificate_is_taken_where_it_is_named():
    own = Identity.development()
    connected(at_client(ca=own.pem), at_server(identity=own))


@pytest.mark.parametrize("at", ["leaf", "authority"])
def test_a_key_that_is_no_point_of_its_curve(at):
    identity = Identity.development()
    der = identity.certificate.public_bytes(serialization.Encoding.DER)
    point = identity.certificate.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    broken = x509.load_der_x509_certificate(der.replace(point, b"\x04" + bytes(64)))
    trust = _trust.Trust(identity.pem, ())
    with pytest.raises(_trust.Refusal):
        if at == "leaf":
            trust.check(broken, [], "server", "localhost")
        else:
            leaf = Identity.development().certificate
            trust.check(leaf, [broken], "server", "localhost")


def test_an_intermediate_authority_is_sent_and_followed():
    own = AUTHORITY.intermediate().issue(["localhost"])
    link = connected(server=at_server(identity=own))
    assert link.client.tls.peer_certificates == (own.certificate, *own.chain)


def test_an_intermediate_authority_that_is_not_sent():
    own = AUTHORITY.intermediate("middle").issue(["localhost"])
    bare = Identity(own.certificate, own.private_key)
    refused_by_client("issuer is unknown: CN=middle", 48, server=at_server(identity=bare))


def test_a_trusted_intermediate_needs_no_root():
    middle = AUTHORITY.intermediate()
    connected(at_client(ca=middle.pem), at_server(identity=middle.issue(["localhost"])))


def test_authorities_may_be_in_a_file(tmp_path):
    certificate, _ = AUTHORITY.identity.save(tmp_path)
    connected(at_client(ca=certificate))
    connected(at_client(ca=str(certificate)))
    # The same name with another content is read again.
    certificate.write_bytes(STRANGER.pem)
    refused_by_client("issuer is unknown", 48, at_client(ca=certificate))


def test_wrong_name():
    refused_by_client(
        "certificate is for localhost, 127.0.0.1, not for a.example",
        42,
        at_client(server_name="a.example"),
    )
    refused_by_client(
        "certificate is for localhost, 127.0.0.1, not for 127.0.0.2",
        42,
        at_client(server_name="127.0.0.2"),
    )


def test_many_names_and_long_ones_are_told_shortly():
    names = [f"{'a' * 60}{number}.example" for number in range(50)]
    own = AUTHORITY.issue(names)
    link = refused_by_client("and 47 more, not for localhost", 42, server=at_server(identity=own))
    assert len(link.client.ended.reason_phrase) < 600


def test_the_common_name_is_no_name():
    key = ec.generate_private_key(ec.SECP256R1())
    own = Identity(hand_made(key, names=()), key)
    refused_by_client(
        "certificate is for no name at all", 42, at_client(ca=own.pem), at_server(identity=own)
    )


def test_expired():
    own = AUTHORITY.issue(["localhost"], days=1, not_before=days_ago(3))
    refused_by_client(
        f"certificate expired on {own.not_after:%Y-%m-%d %H:%M:%S} UTC",
        45,
        server=at_server(identity=own),
    )


def test_not_yet_valid():
    own = AUTHORITY.issue(["localhost"], not_before=days_ago(-2))
    refused_by_client(
        f"certificate is not valid before {own.not_before:%Y-%m-%d %H:%M:%S} UTC",
        45,
        server=at_server(identity=own),
    )


def test_unknown_issuer():
    own = STRANGER.issue(["localhost"])
    refused_by_client("issuer is unknown: CN=stranger", 48, server=at_server(identity=own))


def test_a_self_signed_certificate_is_unknown_to_others():
    refused_by_client("signed itself", 48, server=at_server(identity=Identity.development()))


def test_the_machines_authorities_do_not_know_a_development_certificate():
    refused_by_client("issuer is unknown", 48, at_client(ca=None))


def test_a_clients_certificate_is_none_for_servers():
    own = AUTHORITY.issue(["localhost"], usage="client")
    refused_by_client("not for servers", 43, server=at_server(identity=own))


def test_a_server_may_not_sign_others():
    """A certificate of a trusted authority's customer is no authority itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(SERVER.certificate.subject)
        .public_key(key.public_key())
        .serial_number(9)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
        .sign(SERVER.private_key, hashes.SHA256())
    )
    own = Identity(forged, key, (SERVER.certificate,))
    # Two packets: the second, with the server's Finished, is read before the client has told that
    # it closes.
    refused_by_client("invalid CA certificate", 42, server=at_server(identity=own))


def test_whoever_says_so_may_skip_verification():
    own = Identity.development(["elsewhere"])
    connected(
        at_client(ca=None, server_name="localhost", insecure_skip_verify=True),
        at_server(identity=own),
    )


def test_without_a_name_nothing_can_be_verified():
    with pytest.raises(ArgumentValueError, match="server_name must be given"):
        Link(at_client(server_name=None), at_server())


def test_a_peer_that_does_not_have_the_key_is_refused():
    thief = Identity.development(["localhost"])
    thief._certificate = SERVER.certificate  # shows the server's certificate, signs with its own
    refused_by_client("did not prove to have its key", 51, server=at_server(identity=thief))


# -- pins -------------------------------------------------------------------------------------


def test_a_pin_of_the_certificate_replaces_chain_and_name():
    own = Identity.development(["elsewhere"])
    for pin in (own.certificate_pin, "cert-sha256:" + own.sha256.upper()):
        connected(at_client(ca=None, pins=(pin,)), at_server(identity=own))


def test_a_pin_of_the_certificate_does_not_make_it_younger():
    own = AUTHORITY.issue(["localhost"], days=1, not_before=days_ago(3))
    client = at_client(ca=None, pins=(own.certificate_pin,))
    refused_by_client("certificate expired on", 45, client, at_server(identity=own))


def test_a_pin_of_the_key_is_beside_the_chain():
    connected(at_client(pins=(SERVER.spki_pin,)))
    connected(at_client(pins=(STRANGER.identity.spki_pin, AUTHORITY.identity.spki_pin)))
    own = Identity.development()
    client = at_client(ca=None, pins=(own.spki_pin,))
    refused_by_client("issuer is unknown", 48, client, at_server(identity=own))
    client = at_client(server_name="a.example", pins=(SERVER.spki_pin,))
    refused_by_client("not for a.example", 42, client)


@pytest.mark.parametrize("ca", [None, AUTHORITY.pem])
def test_wrong_pin_of_a_certificate(ca):
    client = at_client(ca=ca, pins=(CLIENT.certificate_pin,))
    refused_by_client(f"matches no pin: it has {SERVER.spki_pin}", 42, client)


def test_wrong_pin_of_a_key():
    refused_by_client("matches no pin", 42, at_client(pins=(CLIENT.spki_pin,)))


def test_pins_count_where_verification_is_skipped():
    client = at_client(insecure_skip_verify=True, pins=(CLIENT.spki_pin,))
    refused_by_client("matches no pin", 42, client)
    connected(at_client(insecure_skip_verify=True, pins=(SERVER.spki_pin,)))


@pytest.mark.parametrize(
    "pin",
    ["", "sha256/AAAA", "cert-sha256:00", "sha1/" + "A" * 43 + "=", "cert-sha256:" + "g" * 64],
)
def test_pins_that_are_none(pin):
    with pytest.raises(ArgumentValueError, match="pins: "):
        _trust.parse_pins((pin,))


def test_one_text_is_no_tuple_of_pins():
    with pytest.raises(ArgumentTypeError, match="tuple of pins"):
        _trust.parse_pins(SERVER.spki_pin)


# -- the client's certificate -----------------------------------------------------------------


def asking(mode="required", **given):
    return at_server(**({"client_certificates": mode, "ca": AUTHORITY.pem} | given))


@pytest.mark.parametrize("mode", ["optional", "required"])
def test_a_client_shows_its_certificate_when_it_is_asked(mode):
    link = connected(at_client(identity=CLIENT), asking(mode))
    assert link.server.tls.peer_certificates == (CLIENT.certificate,)
    assert _tls.awaits_confirmation(link.client)


def test_a_client_that_is_not_asked_shows_none():
    link = connected(at_client(identity=CLIENT))
    assert link.server.tls.peer_certificates == ()


def test_an_absent_client_certificate():
    link = connected(at_client(), asking("optional"))
    assert link.server.tls.peer_certificates == ()
    refused_by_server("client certificate is required", 116, at_client(), asking())


def test_a_client_certificate_from_a_stranger():
    own = STRANGER.issue(common_name="sensor 7", usage="client")
    for mode in ("optional", "required"):
        refused_by_server(
            "client certificate's issuer is unknown: CN=stranger",
            48,
            at_client(identity=own),
            asking(mode),
        )


def test_a_servers_certificate_is_none_for_clients():
    own = AUTHORITY.issue(["localhost"], usage="server")
    refused_by_server("not for clients", 43, at_client(identity=own), asking())


def test_an_expired_client_certificate():
    own = AUTHORITY.issue(usage="client", days=1, not_before=days_ago(3))
    refused_by_server("client certificate expired on", 45, at_client(identity=own), asking())


def test_a_client_that_does_not_have_the_key_is_refused():
    thief = Identity.development()
    thief._certificate = CLIENT.certificate
    refused_by_server("did not prove to have its key", 51, at_client(identity=thief), asking())


def test_pins_of_clients():
    own = Identity.development()
    server = asking(ca=None, pins=(own.certificate_pin,))
    connected(at_client(identity=own), server)
    refused_by_server("client certificate matches no pin", 42, at_client(identity=CLIENT), server)


def test_nobody_is_asked_for_a_certificate_that_anyone_may_have():
    link = Link(at_client(), asking(ca=None))
    with pytest.raises(ArgumentValueError, match="any public certificate would do"):
        link.run()


# -- limits -----------------------------------------------------------------------------------


def context_of(is_client=True):
    if is_client:
        return Link(at_client(), at_server()).client.tls
    return connected().server.tls


def buffers():
    return {epoch: Buffer(capacity=8192) for epoch in tls.Epoch}


@pytest.mark.parametrize(
    ("kind", "length"),
    [
        (tls.HandshakeType.SERVER_HELLO, _tls.MAX_HELLO + 1),
        (tls.HandshakeType.CERTIFICATE, _tls.MAX_MESSAGE + 1),
        (tls.HandshakeType.NEW_SESSION_TICKET, 2**24 - 1),
    ],
)
def test_a_long_message_is_refused_when_it_is_announced(kind, length):
    context = context_of()
    with pytest.raises(tls.AlertDecodeError, match="was announced"):
        context.handle_message(bytes([kind]) + length.to_bytes(3, "big"), buffers())


def test_a_peer_cannot_send_more_than_a_message_holds():
    context = context_of()
    start = bytes([tls.HandshakeType.CERTIFICATE]) + _tls.MAX_MESSAGE.to_bytes(3, "big")
    context.handle_message(start, buffers())
    with pytest.raises(tls.AlertDecodeError, match="too long"):
        context.handle_message(bytes(2 * _tls.MAX_MESSAGE), buffers())


@pytest.mark.parametrize("entries", [[b"x"] * 11, [bytes(17 << 10)], [bytes(15 << 10)] * 5])
def test_chains_are_bounded(entries):
    context = context_of()
    message = tls.Certificate(certificates=[(der, b"") for der in entries])
    with pytest.raises(tls.AlertBadCertificate, match="certificates"):
        context._set_peer_certificate(message)


def test_garbage_instead_of_a_certificate():
    message = tls.Certificate(certificates=[(b"garbage", b"")])
    with pytest.raises(tls.AlertBadCertificate, match="could not be parsed"):
        context_of()._set_peer_certificate(message)


def test_after_a_refusal_nothing_is_taken_any_more():
    link = refused_by_server("client certificate is required", 116, at_client(), asking())
    context = link.server.tls
    buffer = Buffer(capacity=64)
    tls.push_finished(buffer, tls.Finished(verify_data=context._expected_verify_data))
    with pytest.raises(tls.AlertUnexpectedMessage, match="failed already"):
        context.handle_message(buffer.data, buffers())
    assert context.state != tls.State.SERVER_POST_HANDSHAKE


# -- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("a.example", "a.example", True),
        ("A.example", "a.EXAMPLE", True),
        ("*.example.org", "a.example.org", True),
        ("*.example.org", "a.b.example.org", False),
        ("*.example.org", "example.org", False),
        ("*.example.org", ".example.org", False),
        ("*.org", "example.org", False),
        ("*", "example", False),
        ("a*.example.org", "ab.example.org", False),
        ("*.*.example.org", "a.b.example.org", False),
        ("a.example", "b.example", False),
    ],
)
def test_wildcards_stand_for_one_label(pattern, name, expected):
    assert _trust.matches(pattern, name) is expected


def test_names_of_hosts():
    assert _trust.ascii_name("münchen.example.") == "xn--mnchen-3ya.example"
    assert _trust.ascii_name("::0001") == "::1"
    assert _trust.ascii_name("fe80::1%eth0") == "fe80::1"
    for name in ("", "a..b", "x" * 300):
        with pytest.raises(ArgumentValueError, match="server_name"):
            _trust.ascii_name(name)


# -- resumption and early data ----------------------------------------------------------------


class Meeting:
    """A server and a client that remember each other."""

    def __init__(self, *, client=None, server=None, early=True):
        self.store = ServerTickets()
        self.client = client or at_client(early_data=early)
        self.server = server or at_server(early_data=early)
        self.memory = TicketStore()

    def link(self, ticket=None, early=b"", **given):
        given = {"client": self.client, "server": self.server} | given
        return Link(
            given["client"],
            given["server"],
            store=self.store,
            ticket=ticket,
            keep=lambda one: self.memory.put("server", one),
            early=early,
        )

    def first(self):
        link = self.link().run()
        assert link.client.first(events.HandshakeCompleted).session_resumed is False
        return link


def received(end):
    end.collect()
    return b"".join(
        event.data for event in end.seen if isinstance(event, events.StreamDataReceived)
    )


def test_early_data_arrives_in_the_first_flight():
    meeting = Meeting()
    meeting.first()
    assert len(meeting.memory) == _tls.TICKETS == len(meeting.store)
    link = meeting.link(meeting.memory.take("server"), b"GET /")
    link.run(1)
    assert received(link.server) == b"GET /"
    assert link.server.tls.early_data_accepted
    link.run()
    for end in (link.client, link.server):
        done = end.first(events.HandshakeCompleted)
        assert done.session_resumed
        assert done.early_data_accepted
    assert link.client.tls.peer_certificates == (SERVER.certificate,)


def test_replayed_early_data_is_refused():
    meeting = Meeting()
    meeting.first()
    link = meeting.link(meeting.memory.take("server"), b"pay 100")
    link.run(1)
    assert received(link.server) == b"pay 100"
    # Who recorded the first flight sends it to the same server again.
    again = link.make_server()
    for data in link.sent:
        again.receive_datagram(data, ("elsewhere", 3), link.now)
    assert received(again) == b""
    assert again.tls.early_data_accepted is False
    assert again.tls.session_resumed is False
    assert meeting.store.unknown == 1


def test_a_ticket_cannot_be_used_twice():
    meeting = Meeting()
    meeting.first()
    ticket = meeting.memory.take("server")
    assert meeting.link(ticket).run().client.first(events.HandshakeCompleted).session_resumed
    # The second time there is a whole handshake, and the early data comes after it.
    link = meeting.link(ticket, b"GET /").run()
    done = link.client.first(events.HandshakeCompleted)
    assert done.session_resumed is False
    assert done.early_data_accepted is False
    link.now += 1.0
    link.client.handle_timer(link.now)
    link.run()
    assert received(link.server) == b"GET /"


def test_each_resumption_brings_new_tickets():
    meeting = Meeting()
    meeting.first()
    for _ in range(5):
        link = meeting.link(meeting.memory.take("server"), b"x").run()
        assert link.client.first(events.HandshakeCompleted).early_data_accepted
    labels = set()
    while (ticket := meeting.memory.take("server")) is not None:
        labels.add((ticket.ticket, ticket.resumption_secret))
    assert len(labels) == 7
    assert len({secret for _, secret in labels}) == 7


def test_a_server_that_takes_no_early_data_says_so_in_its_tickets():
    meeting = Meeting(server=at_server(early_data=False))
    meeting.first()
    ticket = meeting.memory.take("server")
    assert ticket.max_early_data_size is None
    link = meeting.link(ticket, b"GET /").run()
    done = link.client.first(events.HandshakeCompleted)
    assert done.session_resumed
    assert not done.early_data_accepted
    assert received(link.server) == b"GET /"


def test_a_server_that_takes_none_any_more_refuses_and_the_data_comes_later():
    meeting = Meeting()
    meeting.first()
    ticket = meeting.memory.take("server")
    link = meeting.link(ticket, b"GET /", server=at_server(early_data=False))
    link.run(1)
    assert received(link.server) == b""
    link.run()
    link.now += 1.0
    link.client.handle_timer(link.now)
    link.run()
    done = link.client.first(events.HandshakeCompleted)
    assert done.session_resumed
    assert not done.early_data_accepted
    assert received(link.server) == b"GET /"


def test_a_client_that_sends_no_early_data_resumes_without():
    meeting = Meeting(client=at_client())
    meeting.first()
    link = meeting.link(meeting.memory.take("server"), b"GET /")
    link.run(1)
    assert received(link.server) == b""
    link.run()
    done = link.server.first(events.HandshakeCompleted)
    assert done.session_resumed
    assert not done.early_data_accepted
    assert received(link.server) == b"GET /"


def test_early_data_of_another_protocol_is_refused():
    server = at_server(early_data=True, alpn=("one", "two"))
    meeting = Meeting(client=at_client(early_data=True, alpn=("one",)), server=server)
    meeting.first()
    link = meeting.link(
        meeting.memory.take("server"), b"x", client=at_client(early_data=True, alpn=("two",))
    )
    link.run()
    done = link.server.first(events.HandshakeCompleted)
    assert done.session_resumed
    assert not done.early_data_accepted


def test_a_ticket_of_a_suite_that_is_not_offered_any_more_is_left():
    meeting = Meeting()
    meeting.first()
    client = at_client(early_data=True, cipher_suites=("TLS_AES_256_GCM_SHA384",))
    link = meeting.link(meeting.memory.take("server"), client=client).run()
    assert link.client.first(events.HandshakeCompleted).session_resumed is False


def test_a_resumed_session_keeps_its_clients_certificate():
    client = at_client(identity=CLIENT, early_data=True)
    meeting = Meeting(client=client, server=asking(early_data=True))
    meeting.first()
    link = meeting.link(meeting.memory.take("server"), b"x").run()
    assert link.server.first(events.HandshakeCompleted).early_data_accepted
    assert link.server.tls.peer_certificates == (CLIENT.certificate,)


def test_without_a_certificate_no_session_is_resumed_where_one_is_required():
    meeting = Meeting()
    meeting.first()
    link = meeting.link(meeting.memory.take("server"), server=asking(early_data=True)).run()
    assert link.server.first(events.HandshakeCompleted) is None
    assert "client certificate is required" in link.server.ended.reason_phrase


def test_no_session_outlives_a_certificate():
    own = AUTHORITY.issue(["localhost"], days=2, not_before=days_ago(1.5))
    meeting = Meeting(server=at_server(identity=own, early_data=True))
    meeting.first()
    assert meeting.memory.take("server").not_valid_after == own.not_after


def test_a_binder_that_is_wrong_is_refused():
    meeting = Meeting()
    meeting.first()
    ticket = meeting.memory.take("server")
    ticket.resumption_secret = bytes(32)
    link = meeting.link(ticket, b"x").run()
    assert link.server.ended.error_code == 0x100 + 40
    assert received(link.server) == b""


def test_tickets_are_kept_apart_by_the_terms_of_trust():
    base = at_client(alpn=("a",))
    keys = {
        _tls.ticket_key(config, "localhost", port)
        for port in (1, 2)
        for config in (
            base,
            at_client(alpn=("b",)),
            at_client(alpn=("a",), insecure_skip_verify=True),
            at_client(alpn=("a",), pins=(SERVER.spki_pin,)),
            at_client(alpn=("a",), ca=STRANGER.pem),
            at_client(alpn=("a",), identity=CLIENT),
            at_client(alpn=("a",), server_name="other"),
        )
    }
    assert len(keys) == 14
    assert _tls.ticket_key(base, "localhost", 1) == _tls.ticket_key(
        at_client(alpn=("a",)), "localhost", 1
    )


# -- hooks ------------------------------------------------------------------------------------


def test_aioquic_is_as_it_is_needed():
    assert _tls.check_hooks() == []


def test_a_hook_that_changed_is_told(monkeypatch):
    monkeypatch.setattr(tls.Context, "_server_handle_finished", lambda self, buf: None)
    monkeypatch.delattr(tls.Context, "_client_send_hello")
    told = _tls.check_hooks()
    assert any("_server_handle_finished takes" in line for line in told)
    assert any("_client_send_hello is missing" in line for line in told)


def test_the_digest_is_of_the_der():
    assert hashlib.sha256(SERVER.der).hexdigest() == SERVER.sha256
