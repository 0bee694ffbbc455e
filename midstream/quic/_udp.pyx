# cython: freethreading_compatible=True
"""`Socket`, datagrams in batches, and what routes them: bindings of csrc/ms_udp.h."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_SIZE
from libc.errno cimport EAGAIN
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memset

import os
import socket

from midstream._core.errors import ArgumentValueError

cdef extern from "ms_spare.h":
    ctypedef void *ms_spare
    void *ms_spare_take(ms_spare *slots, int n) nogil
    bint ms_spare_give(ms_spare *slots, int n, void *buffer) nogil

cdef extern from "ms_udp.h":
    enum:
        MS_UDP_AVAILABLE
        MS_UDP_SLOTS
        MS_UDP_HOST_TEXT

    ctypedef struct ms_udp_name:
        uint16_t family
        uint16_t port
        uint32_t flow
        uint32_t scope
        uint8_t host[16]
        uint8_t local[16]
        uint32_t has_local

    ctypedef struct ms_udp_message:
        ms_udp_name name
        const uint8_t *data
        uint32_t size
        uint32_t segment
        uint32_t ecn

    ctypedef struct ms_udp_arena:
        pass

    ctypedef struct ms_udp_item:
        const uint8_t *data
        size_t size
        size_t segment
        const ms_udp_name *name

    ctypedef struct ms_udp_sending:
        int gso
        int blocked
        int error
        size_t refused
        size_t items
        size_t offset

    ms_udp_arena *ms_udp_arena_new() nogil
    void ms_udp_arena_free(ms_udp_arena *) nogil
    int ms_udp_receive(ms_udp_arena *, int, int) nogil
    const ms_udp_message *ms_udp_messages(const ms_udp_arena *) nogil
    int ms_udp_send(int, const ms_udp_item *, size_t, ms_udp_sending *) nogil
    int ms_udp_enable_gro(int) nogil
    int ms_udp_enable_ecn(int, int) nogil
    int ms_udp_enable_local(int, int) nogil
    int ms_udp_has_gso(int) nogil
    int ms_udp_host_text(const ms_udp_name *, char *) nogil
    int ms_udp_host_parse(const char *, int, ms_udp_name *) nogil

#: Whether this platform has the batched calls; elsewhere use `midstream.quic._udp_plain`.
AVAILABLE = bool(MS_UDP_AVAILABLE)

cdef enum:
    #: Items of one call of ms_udp_send.
    ITEMS = 64
    #: Addresses kept as tuples and back; then all are forgotten, as anyone can make up sources.
    ADDRESSES = 4096
    #: Arenas kept for the next reader: one for each thread that reads at the same time.
    ARENAS = 4
    #: Messages of one recvmmsg where they come joined, up to 64 datagrams in each.
    JOINED_SLOTS = 4

cdef ms_spare idle_arenas[ARENAS]


# One arena serves all sockets: 1 MiB for each of 10,000 clients would be too much. The one in use is
# in nobody else's hands.
cdef ms_udp_arena *take_arena() except NULL:
    cdef ms_udp_arena *arena = <ms_udp_arena *>ms_spare_take(idle_arenas, ARENAS)
    if arena == NULL:
        arena = ms_udp_arena_new()
    if arena == NULL:
        raise MemoryError("buffers to receive datagrams into")
    return arena


cdef void give_arena(ms_udp_arena *arena) noexcept:
    if not ms_spare_give(idle_arenas, ARENAS, arena):
        ms_udp_arena_free(arena)


cdef object address_of(const ms_udp_name *name):
    """The address as `socket.recvfrom` gives it."""
    cdef char text[MS_UDP_HOST_TEXT]
    if name.family == 0 or not ms_udp_host_text(name, text):
        return None
    host = (<bytes>text).decode("ascii")
    if name.family == 4:
        return (host, name.port)
    return (host, name.port, name.flow, name.scope)


cdef bytes packed(object address, int family):
    """The address as bytes of an `ms_udp_name`."""
    cdef ms_udp_name name
    cdef bytes host
    memset(&name, 0, sizeof(name))
    try:
        if family == 6 and len(address) == 4:
            text, name.port, name.flow, name.scope = address
        else:
            text, name.port = address
        host = text.encode("ascii")
    except (AttributeError, OverflowError, TypeError, ValueError):
        raise ArgumentValueError(
            f"address must be (host, port) or an IPv6 4-tuple, got {address!r}"
        ) from None
    if not ms_udp_host_parse(host, family, &name):
        raise ArgumentValueError(f"address must have a numeric IPv{family} host, got {address!r}")
    return PyBytes_FromStringAndSize(<char *>&name, sizeof(name))


cdef bint is_wildcard(sock):
    return sock.family in (socket.AF_INET, socket.AF_INET6) and (
        sock.getsockname()[0] in ("0.0.0.0", "::")
    )


cdef class Socket:
    """Socket(sock, connected=False, ecn=False)\n--\n\n\
    Send and receive datagrams of a non-blocking UDP socket in batches.

    Parameters
    ----------
    sock : socket.socket
        Bound or connected; it becomes non-blocking, and lives as long as this.
    connected : bool
        Whether it is connected: then addresses of what is sent are ignored.
    ecn : bool
        Whether to ask for the ECN bits of what arrives.

    Attributes
    ----------
    gro, gso : bool
        Whether the kernel joins datagrams for us, and splits what we send. `gso` turns false for
        good where it is found not to work.
    blocked : bool
        Whether the last `send` stopped because the socket took no more.
    offset : int
        Bytes of the first segment group that was not sent whole which have left.
    error : int
        errno of the last datagram lost to one, since `take_error`.

    Notes
    -----
    **Local addresses.** A socket that is bound to all interfaces answers each source from the
    address that it sent to.

    **Cost.** One system call for up to 16 messages in and 64 out, each of up to 64 datagrams, with
    the GIL released; one bytes object for each datagram.

    **Threads.** One thread at a time.
    """

    cdef readonly object sock
    cdef readonly bint connected, ecn, gro, gso, blocked
    cdef readonly Py_ssize_t offset
    cdef readonly int error
    cdef int fd, family
    cdef int slots
    cdef Py_ssize_t refused
    cdef ms_udp_name last_name
    cdef object last_address
    cdef dict addresses  # packed name -> address
    cdef dict names  # address -> packed name

    def __cinit__(self, sock, bint connected=False, bint ecn=False):
        self.fd = -1
        if not MS_UDP_AVAILABLE:
            raise OSError("this platform has no batched datagrams")
        self.sock = sock
        self.fd = sock.fileno()
        self.family = 6 if sock.family == socket.AF_INET6 else 4
        self.connected = connected
        sock.setblocking(False)
        self.gro = ms_udp_enable_gro(self.fd)
        self.gso = ms_udp_has_gso(self.fd)
        if not connected and is_wildcard(sock):
            ms_udp_enable_local(self.fd, self.family == 6)
        self.ecn = ecn and ms_udp_enable_ecn(self.fd, self.family == 6)
        self.slots = MS_UDP_SLOTS
        self.addresses = {}
        self.names = {}

    def receive(self, Py_ssize_t limit=256):
        """receive($self, limit=256)\n--\n\n\
        Take what waits: ``[(datagrams, address, ecn), ...]``, one entry for a source and ECN bits.

        Parameters
        ----------
        limit : int
            Stop when at least this many are taken. Joined ones are not torn apart: up to 255 more.

        Returns
        -------
        list of tuple
            In each entry datagrams are in the order of arrival. Empty where nothing waits.

        Raises
        ------
        OSError
            The descriptor is closed. What the network reports goes to `error`.
        """
        cdef list out = []
        cdef dict groups = None
        cdef list group = None
        cdef object address, key
        cdef object group_address = None
        cdef uint32_t group_ecn = 0
        cdef ms_udp_arena *arena
        cdef const ms_udp_message *message
        cdef Py_ssize_t total = 0, before
        cdef uint32_t start, size
        cdef int n, i, slots, failures = 0
        if self.fd < 0:
            raise OSError("the socket is closed")
        arena = take_arena()
        try:
            while total < limit:
                slots = self.slots
                with nogil:
                    n = ms_udp_receive(arena, self.fd, slots)
                if n < 0:
                    if n == -EAGAIN:
                        break
                    # What ICMP reported is read by this call, once each; a descriptor that is
                    # none says so again and again.
                    failures += 1
                    if failures > 8:
                        raise OSError(-n, os.strerror(-n))
                    self.error = -n
                    continue
                before = total
                message = ms_udp_messages(arena)
                for i in range(n):
                    size = message.size
                    if size > 0:
                        address = self.address(&message.name)
                        if group is None or (
                            address is not group_address or message.ecn != group_ecn
                        ):
                            if group is not None and groups is None:
                                groups = {(group_address, group_ecn): group}
                            group_address = address
                            group_ecn = message.ecn
                            key = (address, group_ecn)
                            group = None if groups is None else groups.get(key)
                            if group is None:
                                group = []
                                out.append((group, address, group_ecn))
                                if groups is not None:
                                    groups[key] = group
                        start = 0
                        while start < size:
                            group.append(
                                PyBytes_FromStringAndSize(
                                    <const char *>message.data + start,
                                    min(message.segment, size - start),
                                )
                            )
                            start += message.segment
                            total += 1
                    message += 1
                self.slots = JOINED_SLOTS if total - before > 8 * n else MS_UDP_SLOTS
                if n < slots:
                    break
        finally:
            give_arena(arena)
        return out

    cdef object address(self, const ms_udp_name *name):
        if self.last_address is not None and (
            memcmp(name, &self.last_name, sizeof(ms_udp_name)) == 0
        ):
            return self.last_address
        cdef bytes key = PyBytes_FromStringAndSize(<const char *>name, sizeof(ms_udp_name))
        address = self.addresses.get(key)
        if address is None:
            address = address_of(name)
            if len(self.addresses) >= ADDRESSES:
                self.addresses.clear()
            self.addresses[key] = address
        if name.has_local:
            # Whoever is answered is answered from where it sent to.
            if len(self.names) > ADDRESSES:
                self.names.clear()
            self.names[address] = key
        self.last_name = name[0]
        self.last_address = address
        return address

    cdef const ms_udp_name *name(self, object address) except NULL:
        cdef object name = self.names.get(address)
        if name is None:
            name = packed(address, self.family)
            # The names of a batch under way are in use: they are forgotten between batches.
            self.names[address] = name
        return <const ms_udp_name *>PyBytes_AS_STRING(name)

    def send(self, segments):
        """send($self, segments)\n--\n\n\
        Send groups of datagrams: how many groups left whole.

        Parameters
        ----------
        segments : sequence of tuple
            ``(buffer, segment_size, address)``: the buffer is datagrams of `segment_size` bytes
            one after the other, only the last of which may be shorter.

        Returns
        -------
        int
            Groups that are done with. Where that is fewer than there were, `blocked` is true, and
            `offset` tells how many bytes of the next group have left.

        Raises
        ------
        ArgumentValueError
            An address is not numeric.
        OSError
            The descriptor is closed. What the network refuses is lost, and goes to `error`.
        """
        cdef ms_udp_item items[ITEMS]
        cdef Py_buffer views[ITEMS]
        cdef ms_udp_sending state
        cdef list groups = segments if type(segments) is list else list(segments)
        cdef Py_ssize_t n = PyList_GET_SIZE(groups), done = 0, i
        cdef int held, result
        cdef object address, last = None
        cdef const ms_udp_name *name = NULL
        if self.fd < 0:
            raise OSError("the socket is closed")
        memset(&state, 0, sizeof(state))
        self.blocked = False
        self.offset = 0
        while done < n:
            held = 0
            if len(self.names) > ADDRESSES:
                self.names.clear()
                last = None
            try:
                for i in range(done, min(n, done + ITEMS)):
                    data, size, address = groups[i]
                    if self.connected:
                        name = NULL
                    elif last is None or address is not last:
                        name = self.name(address)
                        last = address
                    PyObject_GetBuffer(data, &views[held], PyBUF_SIMPLE)
                    held += 1
                    items[held - 1].data = <const uint8_t *>views[held - 1].buf
                    items[held - 1].size = views[held - 1].len
                    items[held - 1].segment = size
                    items[held - 1].name = name
                state.gso = self.gso
                state.items = 0
                state.offset = 0
                with nogil:
                    result = ms_udp_send(self.fd, items, held, &state)
            finally:
                for i in range(held):
                    PyBuffer_Release(&views[i])
            self.gso = state.gso
            if state.error:
                self.error = state.error
            if state.refused and (self.refused == 0 or <Py_ssize_t>state.refused < self.refused):
                self.refused = state.refused
            if result < 0:
                raise OSError(-result, os.strerror(-result))
            done += state.items
            if state.blocked:
                self.blocked = True
                self.offset = state.offset
                break
        return done

    def take_error(self):
        """take_error($self)\n--\n\n\
        What was lost to an error since the last call.

        Returns
        -------
        tuple of int
            errno of the last one, and the size in bytes of the smallest datagram that was too large
            for the interface (EMSGSIZE); 0 for none.
        """
        cdef tuple error = (self.error, self.refused)
        self.error = 0
        self.refused = 0
        return error

    def close(self):
        """close($self)\n--\n\n\
        Close the socket."""
        self.fd = -1
        self.sock.close()


def by_connection(list datagrams, Py_ssize_t length):
    """by_connection(datagrams, length)\n--\n\n\
    Part datagrams by the connection id that they are for.

    Parameters
    ----------
    datagrams : list of bytes
        From one source, in order.
    length : int
        Bytes of a connection id in short headers (RFC 8999, section 5.2).

    Returns
    -------
    list of tuple
        ``(connection id, datagrams)``, each run of neighbours for one id; the id is None where
        the datagram is too short to have one. One entry with the very list given is the
        common case, and costs a comparison for each datagram.
    """
    cdef list out = []
    cdef list run = None
    cdef bytes first = None
    cdef bytes datagram
    cdef const char *data
    cdef const char *cid
    cdef const char *last = NULL
    cdef Py_ssize_t size, cid_size, last_size = -2, i, start = 0
    cdef Py_ssize_t n = PyList_GET_SIZE(datagrams)
    for i in range(n):
        datagram = <bytes?>datagrams[i]
        data = PyBytes_AS_STRING(datagram)
        size = PyBytes_GET_SIZE(datagram)
        if size > 0 and data[0] & 0x80:
            cid_size = <uint8_t>data[5] if size > 5 else 0
            cid = data + 6
            if size <= 5 or size < 6 + cid_size:
                cid_size = -1
        else:
            cid_size = length if size >= 1 + length else -1
            cid = data + 1
        if cid_size != last_size or (
            cid_size > 0 and cid != last and memcmp(cid, last, cid_size) != 0
        ):
            if last_size != -2:
                out.append((key(last, last_size), datagrams[start:i]))
            start = i
        last = cid
        last_size = cid_size
    if last_size != -2:
        out.append((key(last, last_size), datagrams if start == 0 else datagrams[start:]))
    return out


cdef object key(const char *cid, Py_ssize_t size):
    return None if size < 0 else PyBytes_FromStringAndSize(cid, size)
