"""Batched datagrams over real loopback sockets: GSO and GRO at work, plain ones beside them."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream.errors import ArgumentValueError
from midstream.quic import _udp, _udp_plain

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
KINDS = [_udp_plain.Socket, *([_udp.Socket] if _udp.AVAILABLE else [])]

batched = pytest.mark.skipif(not _udp.AVAILABLE, reason="batched datagrams are for Linux")


@pytest.fixture
def bound():
    sockets = []

    def make(family=socket.AF_INET):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sockets.append(sock)
        try:
            sock.bind((LOOPBACK[family], 0))
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
        return sock

    yield make
    for sock in sockets:
        sock.close()


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__module__.rpartition(".")[2])
def kind(request):
    return request.param


def take(receiver, n):
    """Receive until there are `n`; loopback delivers within the send."""
    out = []
    while sum(len(datagrams) for datagrams, _, _ in out) < n:
        more = receiver.receive()
        assert more, f"{n} were sent, {len(out)} groups arrived"
        out += more
    return out


@pytest.mark.parametrize("family", LOOPBACK, ids=["ipv4", "ipv6"])
def test_datagrams_arrive_whole_in_order_and_from_whom_a_socket_says(kind, bound, family):
    a, b = kind(bound(family)), kind(bound(family))
    sent = [bytes([i]) * 1200 for i in range(60)] + [b"short"]
    assert a.send([(b"".join(sent), 1200, b.sock.getsockname())]) == 1
    assert not a.blocked
    got = take(b, len(sent))
    assert [d for datagrams, _, _ in got for d in datagrams] == sent
    assert {address for _, address, _ in got} == {a.sock.getsockname()}
    assert b.receive() == []


def test_the_kernel_splits_and_joins_where_it_can(bound):
    if not _udp.AVAILABLE:
        pytest.skip("GSO and GRO are Linux's")
    a, b = _udp.Socket(bound()), _udp.Socket(bound())
    if not (a.gso and b.gro):
        pytest.skip("this kernel has no UDP_SEGMENT (4.18) or UDP_GRO (5.0)")
    plain = _udp_plain.Socket(bound())
    group = b"".join(bytes([i]) * 1000 for i in range(64))
    for receiver in (b, plain):
        assert a.send([(group, 1000, receiver.sock.getsockname())]) == 1
        # A plain socket sees separate datagrams: the kernel split them.
        (entry,) = receiver.receive(limit=64)
        assert [d[0] for d in entry[0]] == list(range(64))
        assert {len(d) for d in entry[0]} == {1000}
    # One message of 64 joined datagrams is more than was asked for, and is not torn apart.
    a.send([(group, 1000, b.sock.getsockname())] * 2)
    assert [len(datagrams) for datagrams, _, _ in b.receive(limit=1)] == [128]
    assert a.gso


@batched
def test_groups_too_long_for_one_message_leave_in_several(bound):
    a, b = _udp.Socket(bound()), _udp.Socket(bound())
    _udp_plain.prepare(b.sock)  # room for all of it
    # A group that is too long for one message of 65,000 bytes, and one that GSO cannot take.
    sent = [bytes([i]) * 1400 for i in range(100)]
    jumbo = [b"j" * 40_000, b"k" * 39_999]
    a.send([(b"".join(sent), 1400, b.sock.getsockname())])
    a.send([(b"".join(jumbo), 40_000, b.sock.getsockname())])
    got = take(b, 102)
    assert [d for datagrams, _, _ in got for d in datagrams] == sent + jumbo


#: Sockets whose datagrams the kernel does not split, though it says that it would: those that
#: leave the checksum out (EINVAL), and UDP-Lite (EIO).
SO_NO_CHECK, IPPROTO_UDPLITE = 11, 136


@batched
@pytest.mark.parametrize("why", ["no checksum", "UDP-Lite"])
def test_what_the_kernel_does_not_split_is_split_by_us(bound, why):
    if why == "UDP-Lite":
        try:
            raw, peer = (
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM, IPPROTO_UDPLITE) for _ in range(2)
            )
        except OSError:
            pytest.skip("this kernel has no UDP-Lite")
        for sock in (raw, peer):
            sock.bind(("127.0.0.1", 0))
    else:
        raw, peer = bound(), bound()
        raw.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    with raw, peer:
        a = _udp.Socket(raw)
        if not a.gso:
            pytest.skip("this kernel has no UDP_SEGMENT (4.18)")
        peer.setblocking(False)
        to = peer.getsockname()
        first = b"".join(bytes([i]) * 100 for i in range(5)) + b"end"
        assert a.send([(b"alone", 0, to), (first, 100, to), (b"after", 0, to)]) == 3
        assert not a.gso
        assert a.take_error() == (0, 0)
        sent = [b"alone", *(bytes([i]) * 100 for i in range(5)), b"end", b"after"]
        assert [peer.recv(2000) for _ in sent] == sent
        # From now on without a trial.
        assert a.send([(first, 100, to)]) == 1
        assert [peer.recv(2000) for _ in range(6)] == sent[1:7]
        with pytest.raises(BlockingIOError):
            peer.recv(2000)


@batched
def test_splitting_is_not_blamed_for_what_else_is_refused(bound):
    a, b = _udp.Socket(bound()), _udp.Socket(bound())
    if not a.gso:
        pytest.skip("this kernel has no UDP_SEGMENT (4.18)")
    to = b.sock.getsockname()
    # There is no port 0, to which neither many nor one can be sent.
    segments = [(b"one", 0, to), (b"x" * 500, 100, (to[0], 0)), (b"y" * 500, 100, to)]
    assert a.send(segments) == 3
    assert a.take_error() == (errno.EINVAL, 0)
    assert a.gso
    got = [d for datagrams, _, _ in take(b, 6) for d in datagrams]
    assert got == [b"one", *[b"y" * 100] * 5]


def test_a_group_of_segment_size_zero_is_one_datagram(kind, bound):
    a, b = kind(bound()), kind(bound())
    # Any sequence of groups, any buffer.
    assert a.send(((memoryview(b"x" * 3000), 0, b.sock.getsockname()),)) == 1
    assert [d for d, _, _ in take(b, 1)] == [[b"x" * 3000]]


def test_a_connected_socket_needs_no_address(kind, bound):
    peer = bound()
    raw = bound()
    raw.connect(peer.getsockname())
    a, b = kind(raw, connected=True), kind(peer)
    assert a.send([(b"abcdef", 2, None)]) == 1
    assert [d for datagrams, _, _ in take(b, 3) for d in datagrams] == [b"ab", b"cd", b"ef"]


def test_sources_are_told_apart(kind, bound):
    a, b, c = (kind(bound()) for _ in range(3))
    to = c.sock.getsockname()
    for i in range(4):
        a.send([(b"a%d" % i, 0, to)])
        b.send([(b"b%d" % i, 0, to)])
    got = c.receive()
    assert [(d, address) for d, address, _ in got] == [
        ([b"a0", b"a1", b"a2", b"a3"], a.sock.getsockname()),
        ([b"b0", b"b1", b"b2", b"b3"], b.sock.getsockname()),
    ]
    # Cached: the very same object as long as it is known.
    a.send([(b"again", 0, to)])
    if kind is not _udp_plain.Socket:
        assert c.receive()[0][1] is got[0][1]


@pytest.mark.skipif(sys.platform != "linux", reason="others drop where a socket is full")
def test_a_full_socket_says_how_far_it_came(kind, bound):
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with a, b:
        a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
        sender = kind(a, connected=True)
        group = (b"".join(bytes([i]) * 1000 for i in range(50)), 1000, None)
        segments = [group] * 3
        if kind is not _udp_plain.Socket:
            assert not sender.gso  # no UDP
        done = sender.send(segments)
        assert sender.blocked
        assert done < 3
        got = []
        while done < 3 or sender.blocked:
            b.setblocking(False)
            try:
                while True:
                    got.append(b.recv(2000))
            except BlockingIOError:
                pass
            view = memoryview(segments[done][0])[sender.offset :]
            segments[done] = (view, 1000, None)
            done += sender.send(segments[done:])
            if done == 3:
                break
        try:
            while True:
                got.append(b.recv(2000))
        except BlockingIOError:
            pass
        assert b"".join(got) == group[0] * 3
        assert sender.take_error() == (0, 0)


def test_a_refusal_is_reported_and_not_raised(kind, bound):
    raw, gone = bound(), bound()
    raw.connect(gone.getsockname())
    gone.close()
    a = kind(raw, connected=True)
    a.send([(b"x", 0, None)])
    if sys.platform == "linux":
        # ICMP came back at once: reading or sending reports it, whichever is first.
        assert a.receive() == []
        assert a.take_error() == (errno.ECONNREFUSED, 0)
    a.send([(b"y", 0, None)])
    assert a.send([(b"z", 0, None)]) == 1
    assert a.take_error()[1] == 0
    # Nor is it the fault of splitting, where that was under way.
    a.send([(b"many" * 5, 4, None)])
    if kind is not _udp_plain.Socket:
        assert a.gso == _udp.Socket(bound()).gso


def test_datagrams_too_large_for_the_interface_are_reported(kind, bound):
    a, b = bound(), kind(bound())
    assert _udp_plain.prepare(a) or sys.platform not in ("linux", "darwin", "win32")
    sender = kind(a)
    to = b.sock.getsockname()
    # Beyond what UDP over IPv4 can carry, at any MTU.
    segments = [(b"x" * 65_530, 0, to), (b"fine", 0, to)]
    assert sender.send(segments) == 2
    assert sender.take_error() == (errno.EMSGSIZE, 65_530)
    assert sender.take_error() == (0, 0)
    assert [d for d, _, _ in take(b, 1)] == [[b"fine"]]


def test_the_smallest_of_those_too_large_is_told(kind, bound):
    sender, b = kind(bound()), kind(bound())
    to = b.sock.getsockname()
    sizes = (65_530, 65_520, 65_525)
    assert sender.send([(b"x" * size, 0, to) for size in sizes]) == 3
    assert sender.take_error() == (errno.EMSGSIZE, 65_520)
    assert b.receive() == []


@batched
@pytest.mark.parametrize("family", LOOPBACK, ids=["ipv4", "ipv6"])
def test_ecn_bits_are_told_where_asked_for(bound, family):
    a, b = bound(family), _udp.Socket(bound(family), ecn=True)
    assert b.ecn
    sender = _udp.Socket(a)
    six = family == socket.AF_INET6
    option = (
        (socket.IPPROTO_IPV6, socket.IPV6_TCLASS) if six else (socket.IPPROTO_IP, socket.IP_TOS)
    )
    for mark in (0, 1, 2):
        a.setsockopt(*option, mark)
        sender.send([(b"%d" % mark, 0, b.sock.getsockname())])
    assert b.receive() == [([b"%d" % mark], a.getsockname(), mark) for mark in (0, 1, 2)]


@batched
@pytest.mark.parametrize(
    ("options", "mark"),
    [
        ([(socket.IPPROTO_IP, 12, 1)], 2),  # IP_RECVTTL
        # More than there is room for: SO_TIMESTAMPING and IP_PKTINFO leave none for the hops.
        (
            [
                (socket.SOL_SOCKET, 37, 1 << 3 | 1 << 4),
                (socket.IPPROTO_IP, 8, 1),
                (socket.IPPROTO_IP, 12, 1),
            ],
            0,
        ),
    ],
    ids=["hops", "too many"],
)
def test_what_the_owner_of_a_socket_asked_for_before_is_passed_over(bound, options, mark):
    a, raw = bound(), bound()
    for option in options:
        raw.setsockopt(*option)
    b = _udp.Socket(raw, ecn=mark > 0)
    a.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 2)
    for _ in range(3):
        a.sendto(b"marked", raw.getsockname())
    assert b.receive() == [([b"marked"] * 3, a.getsockname(), mark)]
    assert b.send([(b"answer", 0, a.getsockname())]) == 1
    assert a.recvfrom(100) == (b"answer", raw.getsockname())


@batched
@pytest.mark.parametrize("named", [True, False])
def test_what_is_no_address_of_the_internet_is_none(tmp_path, named):
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with a, b:
        if named:
            name = str(tmp_path / "a name that is longer than any address")[-100:].lstrip("/")
            a.close()
            a = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            a.bind("\0" + name)  # Linux's own: no file
            b.close()
            b = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            b.bind("\0" + name + "b")
            a.connect("\0" + name + "b")
        receiver = _udp.Socket(b)
        a.send(b"x")
        a.send(b"y")
        assert receiver.receive() == [([b"x", b"y"], None, 0)]
        a.close()
        b.close()


@batched
def test_a_datagram_that_has_no_room_is_none():
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with a, b:
        receiver = _udp.Socket(b)
        # More than UDP can carry; a part of it must not pass for the whole.
        for data in (b"before", b"x" * 65_537, b"y" * 65_536, b"after"):
            a.send(data)
        assert receiver.receive() == [([b"before", b"y" * 65_536, b"after"], None, 0)]


@batched
def test_readers_that_are_in_the_kernel_at_once_have_buffers_of_their_own():
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(12)]
    barrier = threading.Barrier(len(pairs))
    wrong = []

    def read(i):
        a, b = pairs[i]
        receiver = _udp.Socket(b)
        sent = [bytes([i + k]) * 60_000 for k in range(3)]  # that the kernel is busy with
        barrier.wait(60)
        for _ in range(400):
            for datagram in sent:
                a.send(datagram)
            ((datagrams, _, _),) = receiver.receive()
            if datagrams != sent:
                wrong.append(i)

    threads = [threading.Thread(target=read, args=(i,)) for i in range(len(pairs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for pair in pairs:
        for sock in pair:
            sock.close()
    assert wrong == []


@batched
@pytest.mark.parametrize(
    "address", [("localhost", 1), ("::1", 1), ("127.0.0.1", 65_536), ("127.0.0.1",), 7, (1, 2)]
)
def test_addresses_that_are_none_are_named(bound, address):
    with pytest.raises(ArgumentValueError, match="address") as caught:
        _udp.Socket(bound()).send([(b"x", 0, address)])
    assert repr(address) in str(caught.value)


@batched
def test_an_ipv6_socket_takes_addresses_of_both_kinds(bound):
    b = bound()
    six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with six:
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            six.bind(("::", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        a = _udp.Socket(six)
        assert a.send([(b"hello", 0, b.getsockname())]) == 1
        data, (host, port) = b.recvfrom(100)
        assert (data, host, port) == (b"hello", "127.0.0.1", six.getsockname()[1])
        b.sendto(b"hello yourself", (host, port))
        ((datagrams, address, _),) = a.receive()
        assert (datagrams, address[:2]) == (
            [b"hello yourself"],
            ("::ffff:127.0.0.1", b.getsockname()[1]),
        )
        for address in (("localhost", 1), ("1.2.3", 1), ("::1::", 1, 0, 0), ("", 1)):
            with pytest.raises(ArgumentValueError, match="numeric IPv6 host"):
                a.send([(b"x", 0, address)])


@batched
def test_more_sources_than_are_cached(bound):
    a, b = _udp.Socket(bound()), _udp.Socket(bound())
    for port in range(1, 5000):
        # To a port of ours in between: the cache of names forgets, and goes on.
        a.send([(b"", 0, ("127.0.0.2", port))])
    a.take_error()
    assert a.send([(b"x", 0, b.sock.getsockname())]) == 1
    assert take(b, 1)[0][0] == [b"x"]


@batched
@pytest.mark.parametrize("asked", [False, True], ids=["", "also told as of IPv4"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_socket_on_all_interfaces_answers_from_where_it_was_sent_to(bound, host, asked):
    family = socket.AF_INET6 if host == "::" else socket.AF_INET
    everywhere = socket.socket(family, socket.SOCK_DGRAM)
    with everywhere:
        if host == "::":
            everywhere.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if asked:
            everywhere.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
        everywhere.bind((host, 0))
        server = _udp.Socket(everywhere)
        client = bound()
        group = b"".join(bytes([i]) * 100 for i in range(5))
        for local in ("127.0.0.2", "127.0.0.3", "127.0.0.2"):
            client.sendto(b"x", (local, everywhere.getsockname()[1]))
            ((_, address, _),) = server.receive()
            server.send([(group, 100, address)])
            got = [client.recvfrom(200) for _ in range(5)]
            assert b"".join(datagram for datagram, _ in got) == group
            assert {source[0] for _, source in got} == {local}


def test_closed_sockets_raise(kind, bound):
    a = kind(bound())
    a.close()
    with pytest.raises(OSError):
        a.receive()
    with pytest.raises(OSError):
        a.send([(b"x", 0, ("127.0.0.1", 9))])


def test_a_descriptor_that_was_closed_elsewhere_raises(kind, bound):
    a, to = kind(bound()), bound().getsockname()
    a.sock.close()
    for call in (a.receive, lambda: a.send([(b"x", 0, to)])):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EBADF or sys.platform == "win32"


@batched
def test_a_descriptor_that_is_no_socket_any_more_raises(bound):
    a, to = _udp.Socket(bound()), bound().getsockname()
    with Path(os.devnull).open("rb") as other:
        os.dup2(other.fileno(), a.sock.fileno())
    for call in (a.receive, lambda: a.send([(b"x", 0, to)])):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.ENOTSOCK


@batched
def test_a_socket_that_is_not_connected_after_all_raises(bound):
    a = _udp.Socket(bound(), connected=True)
    with pytest.raises(OSError) as caught:
        a.send([(b"x", 0, None)])
    assert caught.value.errno == errno.EDESTADDRREQ


def test_sockets_have_room_for_bursts(bound):
    sock = bound()
    before = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    _udp_plain.prepare(sock)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= before


def short(cid, tail=b"..."):
    return b"\x40" + cid + tail


def long(cid, tail=b""):
    return b"\xc0\0\0\0\1" + bytes([len(cid)]) + cid + b"\0" + tail


def test_datagrams_are_parted_by_connection_id():
    one, two = b"11111111", b"22222222"
    same = [short(one), short(one, b""), long(one), short(one)]
    assert _udp.by_connection(same, 8) == [(one, same)]
    assert _udp.by_connection(same, 8)[0][1] is same
    mixed = [
        short(one),
        short(two),
        short(two),
        long(b"xyz"),
        b"\x40short",
        b"",
        b"\xc0\0",
        long(b""),
    ]
    assert _udp.by_connection(mixed, 8) == [
        (one, mixed[:1]),
        (two, mixed[1:3]),
        (b"xyz", mixed[3:4]),
        (None, mixed[4:7]),
        (b"", mixed[7:]),
    ]
    assert _udp.by_connection([], 8) == []


def parsed(datagram):
    if datagram[:1] >= b"\x80":
        size = datagram[5] if len(datagram) > 5 else 0
        return datagram[6 : 6 + size] if 6 + size <= len(datagram) else None
    return datagram[1:9] if len(datagram) >= 9 else None


@given(st.lists(st.binary(max_size=12) | st.sampled_from([short(b"1" * 8), long(b"1" * 8)])))
@settings(deadline=None)
def test_parting_loses_and_reorders_nothing(datagrams):
    parts = _udp.by_connection(datagrams, 8)
    assert [d for _, part in parts for d in part] == datagrams
    assert [cid for cid, part in parts for _ in part] == [parsed(d) for d in datagrams]
    assert all(a != b for (a, _), (b, _) in itertools.pairwise(parts))
