# cython: freethreading_compatible=True
"""Byte ranges, and the two halves of a stream: what is sent, what is received.

`SendBuffer` and `ReceiveBuffer` hold payload in pieces, each a `bytes` object, so that data passes
from the application to a packet, and from a packet to the application, with one copy. Small pieces
are packed together: a peer, or an application, that deals in single bytes costs the memory of the
bytes, not of an object for each.

None of it may be used from two threads at once.
"""

cimport cython
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_CheckExact,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport UINT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

from midstream._core.errors import ArgumentTypeError, ArgumentValueError

cdef extern from "Python.h":
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *, Py_ssize_t) except NULL

#: The largest offset of a stream (RFC 9000, section 4.5).
cdef uint64_t MAX_OFFSET = (<uint64_t>1 << 62) - 1

cdef enum:
    #: Pieces below this size are packed together. An object costs 33 bytes and a `Piece` 40.
    SMALL = 512
    #: How large a pack grows: sending keeps few of them, receiving may have to keep many.
    SEND_PACK = 16384
    RECEIVE_PACK = 4096
    LEAST_PACK = 128
    #: Data handed in as something else than bytes is copied in pieces of this size, so that
    #: acknowledgements free it bit by bit.
    COPY_PIECE = 65536
    #: Fragments allowed at once: FRAGMENTS, and one more for each FRAGMENT_BYTES held, but never
    #: more than MOST_FRAGMENTS. Contiguous data makes at most two for each SMALL bytes, so only
    #: gaps count: an honest peer makes one for each packet lost in a round trip.
    FRAGMENTS = 256
    FRAGMENT_BYTES = 128
    MOST_FRAGMENTS = 65536


@cython.final
cdef class Ranges:
    """Ranges(limit=0)\n--\n\n\
    Sorted, disjoint, half-open ranges of 64-bit integers; ranges that touch are one.

    Parameters
    ----------
    limit : int
        Most ranges kept; when one more is added, the lowest is dropped. 0 for any number.

    Notes
    -----
    **Cost.** 16 bytes a range. Adding or subtracting at either end is O(1), elsewhere O(log n) and
    a move of the ranges on the shorter side.
    """

    def __cinit__(self, limit=0):
        if limit < 0:
            raise ArgumentValueError(f"limit must be at least 0, got {limit}")
        self.limit = limit

    def __dealloc__(self):
        free(self.memory)

    def __len__(self):
        return self.count

    def __iter__(self):
        return iter([(self.items[i].start, self.items[i].stop) for i in range(self.count)])

    def __repr__(self):
        return f"Ranges({', '.join(f'{start}..{stop}' for start, stop in self)})"

    @property
    def first_start(self):
        return self.items[0].start if self.count else None

    @property
    def first_stop(self):
        return self.items[0].stop if self.count else None

    @property
    def last_stop(self):
        return self.items[self.count - 1].stop if self.count else None

    cdef int reserve(self) except -1:
        """Make room for one range behind the last."""
        cdef size_t before = self.items - self.memory
        cdef size_t capacity
        cdef Range *grown
        if before + self.count < self.capacity:
            return 0
        if before > self.capacity // 2:
            memmove(self.memory, self.items, self.count * sizeof(Range))
            self.items = self.memory
            return 0
        capacity = 4 if self.capacity == 0 else 2 * self.capacity
        grown = <Range *>realloc(self.memory, capacity * sizeof(Range))
        if grown == NULL:
            raise MemoryError(f"{capacity} ranges")
        self.memory = grown
        self.items = grown + before
        self.capacity = capacity
        return 0

    cdef int insert_at(self, size_t i, uint64_t start, uint64_t stop) except -1:
        if i < self.count // 2 and self.items > self.memory:
            self.items -= 1
            memmove(self.items, self.items + 1, i * sizeof(Range))
        else:
            self.reserve()
            memmove(self.items + i + 1, self.items + i, (self.count - i) * sizeof(Range))
        self.items[i].start = start
        self.items[i].stop = stop
        self.count += 1
        if self.limit and self.count > self.limit:
            self.remove(0, 1)
        return 0

    cdef void remove(self, size_t i, size_t n) noexcept:
        if n == 0:
            return
        if i == 0:
            self.items += n
        else:
            memmove(self.items + i, self.items + i + n, (self.count - i - n) * sizeof(Range))
        self.count -= n
        if self.count == 0:
            self.items = self.memory

    cdef size_t after(self, uint64_t value) noexcept:
        """Index of the first range whose stop is above `value`."""
        cdef size_t low = 0, high = self.count, middle
        if high and self.items[high - 1].stop <= value:
            return high
        while low < high:
            middle = (low + high) // 2
            if self.items[middle].stop <= value:
                low = middle + 1
            else:
                high = middle
        return low

    cpdef int add(self, uint64_t start, uint64_t stop) except -1:
        """Add ``[start, stop)``; 1 if any of it was missing before, else 0."""
        cdef size_t i, j
        cdef Range *last
        if start >= stop:
            return 0
        if self.count:
            last = self.items + self.count - 1
            if start == last.stop:
                last.stop = stop
                return 1
            if start > last.stop:
                self.insert_at(self.count, start, stop)
                return 1
        # The first range that touches, and the first behind that does not.
        i = self.after(start - 1 if start else 0)
        if start == 0 and self.count and self.items[0].start == 0:
            i = 0
        if i == self.count or self.items[i].start > stop:
            self.insert_at(i, start, stop)
            return 1
        if self.items[i].start <= start and stop <= self.items[i].stop:
            return 0
        if start < self.items[i].start:
            self.items[i].start = start
        j = i + 1
        while j < self.count and self.items[j].start <= stop:
            j += 1
        if self.items[j - 1].stop > stop:
            stop = self.items[j - 1].stop
        self.items[i].stop = stop
        self.remove(i + 1, j - i - 1)
        return 1

    cpdef int subtract(self, uint64_t start, uint64_t stop) except -1:
        """Remove ``[start, stop)``; 1 if any of it was there, else 0."""
        cdef size_t i, j
        cdef uint64_t end
        if start >= stop or self.count == 0:
            return 0
        i = self.after(start)
        if i == self.count or self.items[i].start >= stop:
            return 0
        if self.items[i].start < start:
            end = self.items[i].stop
            if end > stop:
                # A hole. Room first, that a failure leaves all as it was; no limit may drop one.
                self.reserve()
                memmove(
                    self.items + i + 2,
                    self.items + i + 1,
                    (self.count - i - 1) * sizeof(Range),
                )
                self.items[i].stop = start
                self.items[i + 1].start = stop
                self.items[i + 1].stop = end
                self.count += 1
                if self.limit and self.count > self.limit:
                    self.remove(0, 1)
                return 1
            self.items[i].stop = start
            i += 1
        j = i
        while j < self.count and self.items[j].stop <= stop:
            j += 1
        if j < self.count and self.items[j].start < stop:
            self.items[j].start = stop
        self.remove(i, j - i)
        return 1

    cpdef bint contains(self, uint64_t value) noexcept:
        """Whether one of the ranges holds `value`."""
        cdef size_t i = self.after(value)
        return i < self.count and self.items[i].start <= value

    cpdef bint covers(self, uint64_t start, uint64_t stop) noexcept:
        """Whether all of ``[start, stop)`` is there."""
        cdef size_t i
        if start >= stop:
            return True
        i = self.after(start)
        return i < self.count and self.items[i].start <= start and stop <= self.items[i].stop

    cpdef void drop_below(self, uint64_t value) noexcept:
        """Remove all below `value`."""
        cdef size_t i = self.after(value)
        self.remove(0, i)
        if self.count and self.items[0].start < value:
            self.items[0].start = value

    cpdef void clear(self) noexcept:
        """Remove all."""
        self.count = 0
        self.items = self.memory


cdef inline void release(Piece *piece) noexcept:
    # An exact bytes object: nothing of Python's runs when it goes.
    Py_DECREF(<object>piece.owner)


cdef inline size_t length_of(Piece *piece) noexcept:
    return <size_t>(piece.stop - piece.start)


cdef int pieces_reserve(Pieces *p, size_t n=1) except -1:
    """Make room for `n` pieces behind the last."""
    cdef size_t before = p.items - p.memory
    cdef size_t capacity
    cdef Piece *grown
    if before + p.count + n <= p.capacity:
        return 0
    if before > p.capacity // 2 and p.count + n <= p.capacity:
        memmove(p.memory, p.items, p.count * sizeof(Piece))
        p.items = p.memory
        return 0
    capacity = 2 if p.capacity == 0 else 2 * p.capacity
    while capacity < before + p.count + n:
        capacity *= 2
    grown = <Piece *>realloc(p.memory, capacity * sizeof(Piece))
    if grown == NULL:
        raise MemoryError(f"{capacity} pieces")
    p.memory = grown
    p.items = grown + before
    p.capacity = capacity
    return 0


cdef int pieces_insert(Pieces *p, size_t i, Piece *piece) except -1:
    """Put a piece at index `i`; its reference becomes the list's, unless this raises."""
    cdef Piece *grown
    if i < p.count // 2 and p.items > p.memory:
        p.items -= 1
        memmove(p.items, p.items + 1, i * sizeof(Piece))
    else:
        pieces_reserve(p)
        if i == 0 and p.count > 8 and p.memory == p.items:
            # Data that comes backwards: leave room in front for as many again, once.
            if p.capacity - p.count < p.count:
                grown = <Piece *>realloc(p.memory, 2 * p.capacity * sizeof(Piece))
                if grown == NULL:
                    raise MemoryError(f"{2 * p.capacity} pieces")
                p.memory = grown
                p.items = grown
                p.capacity *= 2
            memmove(p.memory + p.count, p.items, p.count * sizeof(Piece))
            p.items = p.memory + p.count - 1
        else:
            memmove(p.items + i + 1, p.items + i, (p.count - i) * sizeof(Piece))
    p.items[i] = piece[0]
    p.count += 1
    return 0


cdef void pieces_remove(Pieces *p, size_t i, size_t n) noexcept:
    """Take `n` pieces out; their references are the caller's."""
    if n == 0:
        return
    if i == 0:
        p.items += n
    else:
        memmove(p.items + i, p.items + i + n, (p.count - i - n) * sizeof(Piece))
    p.count -= n
    if p.count == 0:
        p.items = p.memory
        if p.capacity > 16:
            # An idle stream keeps nothing of what a busy one needed.
            free(p.memory)
            p.memory = p.items = NULL
            p.capacity = 0


cdef void pieces_clear(Pieces *p) noexcept:
    cdef size_t i
    for i in range(p.count):
        release(p.items + i)
    free(p.memory)
    p.memory = p.items = NULL
    p.count = p.capacity = 0


cdef size_t pieces_find(Pieces *p, uint64_t offset) noexcept:
    """Index of the first piece whose stop is above `offset`."""
    cdef size_t low = 0, high = p.count, middle
    if high and p.items[high - 1].stop <= offset:
        return high
    while low < high:
        middle = (low + high) // 2
        if p.items[middle].stop <= offset:
            low = middle + 1
        else:
            high = middle
    return low


cdef int piece_of(Piece *piece, uint64_t start, const uint8_t *data, size_t n) except -1:
    """Make `piece` a copy of `data`."""
    piece.owner = new_bytes(<const char *>data, n)
    piece.data = <uint8_t *>PyBytes_AS_STRING(<object>piece.owner)
    piece.start = start
    piece.stop = start + n
    piece.spare = 0
    # CPython shares the bytes objects of length 0 and 1: those are not ours to write to.
    piece.packed = False
    return 0


cdef inline bint is_small(Piece *piece) noexcept:
    return piece.packed or length_of(piece) < SMALL


cdef int piece_grow(Piece *piece, const uint8_t *data, size_t n, size_t most) except -1:
    """Put `n` bytes behind a piece, moving it to a larger object where it has no room."""
    cdef size_t had = length_of(piece)
    cdef size_t capacity
    cdef PyObject *grown
    if piece.spare < n:
        capacity = 2 * (had + n)
        if capacity < LEAST_PACK:
            capacity = LEAST_PACK
        if capacity > most:
            capacity = most if most > had + n else had + n
        grown = new_bytes(NULL, capacity)
        memcpy(PyBytes_AS_STRING(<object>grown), piece.data, had)
        release(piece)
        piece.owner = grown
        piece.data = <uint8_t *>PyBytes_AS_STRING(<object>grown)
        piece.spare = <uint32_t>(capacity - had)
        piece.packed = True
    memcpy(piece.data + had, data, n)
    piece.stop += n
    piece.spare -= <uint32_t>n
    return 0


cdef int pieces_append(Pieces *p, uint64_t start, const uint8_t *data, size_t n,
                       size_t most) except -1:
    """Put a copy of `data` behind the last piece, or into it where both are small."""
    cdef Piece piece
    cdef Piece *last
    if p.count and n < SMALL:
        last = p.items + p.count - 1
        if last.stop == start and is_small(last) and length_of(last) + n <= most:
            return piece_grow(last, data, n, most)
    pieces_reserve(p)
    piece_of(&piece, start, data, n)
    p.items[p.count] = piece
    p.count += 1
    return 0


cdef size_t pieces_memory(Pieces *p):
    cdef size_t i, total = p.capacity * sizeof(Piece)
    for i in range(p.count):
        total += (<object>p.items[i].owner).__sizeof__()
    return total


@cython.final
@cython.no_gc
cdef class SendBuffer:
    """SendBuffer()\n--\n\n\
    What a stream sends: bytes from the application on, until the peer acknowledged them.

    What is handed in as `bytes` is not copied; it is kept alive until all of it is acknowledged.

    Notes
    -----
    **Cost.** Linear in the bytes; writing, sending in order and acknowledging in order are O(1) for
    each call apart from the copy into the packet. Retransmissions and acknowledgements out of order
    cost O(log n) in the number of holes.
    """

    def __dealloc__(self):
        pieces_clear(&self.chunks)

    @property
    def unsent(self):
        """Bytes written and never sent."""
        return self.unsent_bytes()

    @property
    def unacked(self):
        """Bytes written and not known to have arrived, all before them included."""
        return self.unacked_bytes()

    @property
    def has_pending(self):
        """Whether lost data, new data or a FIN waits to be sent."""
        return self.pending()

    @property
    def all_acked(self):
        """Whether the FIN and all before it are acknowledged."""
        return self.done()

    def memory(self):
        """Bytes held, those of objects that the application may share included."""
        return pieces_memory(&self.chunks)

    cpdef int write(self, data) except -1:
        """Append bytes. Raises when the stream was finished or cleared."""
        cdef const uint8_t[::1] view
        cdef const uint8_t *bytes_of
        cdef size_t n, part
        cdef Piece piece
        if self.fin or self.cleared:
            raise ArgumentValueError("data must not be written after the end of the stream")
        if PyBytes_CheckExact(data):
            n = PyBytes_GET_SIZE(data)
            bytes_of = <const uint8_t *>PyBytes_AS_STRING(data)
        else:
            try:
                view = memoryview(data).cast("B")
            except (TypeError, BufferError) as error:
                raise ArgumentTypeError(
                    f"data must be bytes-like and contiguous, got {type(data).__name__}"
                ) from error
            n = view.shape[0]
            bytes_of = &view[0] if n else NULL
        if n == 0:
            return 0
        if n > MAX_OFFSET - self.end:
            raise ArgumentValueError(f"data must end below 2**62, got {n} bytes at {self.end}")
        if n < SMALL and self.chunks.count:
            pieces_append(&self.chunks, self.end, bytes_of, n, SEND_PACK)
            self.end += n
            return 0
        if PyBytes_CheckExact(data):
            pieces_reserve(&self.chunks)
            Py_INCREF(data)
            piece.owner = <void *>data
            piece.data = <uint8_t *>bytes_of
            piece.start = self.end
            piece.stop = self.end + n
            piece.spare = 0
            piece.packed = False
            self.chunks.items[self.chunks.count] = piece
            self.chunks.count += 1
            self.end += n
            return 0
        while n:
            part = n if n < COPY_PIECE else COPY_PIECE
            pieces_append(&self.chunks, self.end, bytes_of, part, SEND_PACK)
            self.end += part
            bytes_of += part
            n -= part
        return 0

    cpdef int finish(self) except -1:
        """Nothing follows: a FIN goes with the last byte, or alone. Harmless when repeated."""
        if self.cleared:
            raise ArgumentValueError("the stream was reset, it cannot be finished")
        self.fin = True
        return 0

    cdef bint can_send(self, uint64_t max_offset) noexcept:
        """Whether `next_frame` with this limit, and room, would find something."""
        if self.lost is not None and self.lost.count:
            return True
        if self.next < self.end:
            return self.next < max_offset
        return self.fin and not self.fin_sent

    cdef int next_frame(self, uint64_t max_bytes, uint64_t max_offset, uint64_t *offset,
                        uint64_t *length, bint *fin) except -1:
        """Choose what to send: 1 and the frame's content, or 0 when there is nothing.

        What is chosen counts as sent. Lost data go first; new data go up to `max_offset`, the
        limit of flow control (`next` before and after tells how much was new).
        """
        cdef uint64_t n, room
        cdef Range *first
        if self.lost is not None and self.lost.count:
            if max_bytes == 0:
                return 0
            first = self.lost.items
            n = first.stop - first.start
            if n > max_bytes:
                n = max_bytes
            offset[0] = first.start
            length[0] = n
            self.lost.subtract(first.start, first.start + n)
        else:
            n = self.end - self.next
            room = max_offset - self.next if max_offset > self.next else 0
            if n > room:
                n = room
            if n > max_bytes:
                n = max_bytes
            if n == 0 and (self.next < self.end or not self.fin or self.fin_sent):
                return 0
            offset[0] = self.next
            length[0] = n
            self.next += n
        fin[0] = self.fin and not self.fin_acked and offset[0] + length[0] == self.end
        if fin[0]:
            self.fin_sent = True
        return 1

    def take_frame(self, uint64_t max_bytes, uint64_t max_offset=UINT64_MAX):
        """`next_frame` for Python: ``(offset, data, fin)``, or None when there is nothing."""
        cdef uint64_t offset = 0, length = 0
        cdef bint fin = False
        if not self.next_frame(max_bytes, max_offset, &offset, &length, &fin):
            return None
        return offset, self.read(offset, length), bool(fin)

    def read(self, uint64_t offset, uint64_t length):
        """A copy of bytes that are not yet acknowledged."""
        if offset < self.base or length > self.end or offset > self.end - length:
            raise ArgumentValueError(
                f"offset must be in {self.base}..{self.end} with length, got {offset} + {length}"
            )
        data = PyBytes_FromStringAndSize(NULL, length)
        self.copy(offset, length, <uint8_t *>PyBytes_AS_STRING(data))
        return data

    cdef void copy(self, uint64_t offset, uint64_t length, uint8_t *into) noexcept:
        """Gather ``[offset, offset + length)``, which lies within ``base..end``."""
        cdef Piece *piece
        cdef uint64_t skip, n
        cdef size_t i = self.cursor
        if length == 0:
            return
        if i >= self.chunks.count or not (
            self.chunks.items[i].start <= offset < self.chunks.items[i].stop
        ):
            i += 1
            if i >= self.chunks.count or not (
                self.chunks.items[i].start <= offset < self.chunks.items[i].stop
            ):
                i = pieces_find(&self.chunks, offset)
        while True:
            piece = self.chunks.items + i
            skip = offset - piece.start
            n = piece.stop - offset
            if n > length:
                n = length
            memcpy(into, piece.data + skip, n)
            length -= n
            if length == 0:
                break
            into += n
            offset += n
            i += 1
        self.cursor = i

    cpdef int on_acked(self, uint64_t offset, uint64_t length, bint fin) except -1:
        """The peer has these bytes of a frame that was sent."""
        cdef uint64_t stop = offset + length
        cdef size_t n
        if self.cleared:
            return 0
        if fin and self.fin:
            self.fin_acked = self.fin_sent = True
        if length == 0 or stop <= self.base:
            return 0
        if self.lost is not None and self.lost.count:
            self.lost.subtract(offset, stop)
        if offset > self.base:
            if self.acked is None:
                self.acked = Ranges()
            self.acked.add(offset, stop)
            return 0
        self.base = stop
        if self.acked is not None and self.acked.count:
            if self.acked.items[0].start <= stop:
                self.acked.drop_below(stop)
                if self.acked.count and self.acked.items[0].start == stop:
                    self.base = self.acked.items[0].stop
                    self.acked.remove(0, 1)
        n = 0
        while n < self.chunks.count and self.chunks.items[n].stop <= self.base:
            release(self.chunks.items + n)
            n += 1
        if n:
            pieces_remove(&self.chunks, 0, n)
            self.cursor = self.cursor - n if self.cursor > n else 0
        return 0

    cpdef int on_lost(self, uint64_t offset, uint64_t length, bint fin) except -1:
        """A frame is lost: what of it was not acknowledged since is sent again."""
        cdef uint64_t stop = offset + length
        cdef size_t i
        cdef uint64_t end
        if self.cleared:
            return 0
        if fin and self.fin and not self.fin_acked:
            self.fin_sent = False
        if offset < self.base:
            offset = self.base
        if offset >= stop:
            return 0
        if self.lost is None:
            self.lost = Ranges()
        if self.acked is None or self.acked.count == 0:
            self.lost.add(offset, stop)
            return 0
        i = self.acked.after(offset)
        while offset < stop:
            if i == self.acked.count or self.acked.items[i].start >= stop:
                self.lost.add(offset, stop)
                return 0
            end = self.acked.items[i].start
            if offset < end:
                self.lost.add(offset, end)
            offset = self.acked.items[i].stop
            i += 1
        return 0

    cpdef void rewind(self) noexcept:
        """All that is not acknowledged counts as never sent."""
        if self.cleared:
            # What `clear` let go of was never sent either.
            self.base = self.end = self.next = 0
            return
        self.lost = None
        self.next = self.base
        self.fin_sent = self.fin_acked

    cpdef void clear(self) noexcept:
        """Forget all: the stream is reset. `next` stays, the final size that RESET_STREAM tells."""
        pieces_clear(&self.chunks)
        self.acked = None
        self.lost = None
        self.cursor = 0
        self.base = self.end = self.next
        self.fin = self.fin_sent = self.fin_acked = False
        self.cleared = True


@cython.final
@cython.no_gc
cdef class ReceiveBuffer:
    """ReceiveBuffer()\n--\n\n\
    What a stream receives: bytes in any order from packets, in order to the application.

    Flow control is the caller's: it compares `highest` with what it granted before it inserts.

    Notes
    -----
    **Cost.** Data in order are copied once, from the packet into an object that `take` hands on as
    it is; asked for more than one piece at once, it joins them. Data out of order cost O(log n) in
    the number of fragments, and a move on the shorter side.

    **Memory** is bounded by what flow control grants: bytes that came twice are held once, small
    pieces are packed, and gaps are limited: 256 fragments, one more for each 128 bytes held, and
    never more than 65,536.
    """

    def __dealloc__(self):
        pieces_clear(&self.ready)
        pieces_clear(&self.fragments)

    @property
    def readable(self):
        """Bytes that `take` would give now."""
        return self.readable_bytes()

    @property
    def final_size(self):
        """Size of the whole stream, None before the peer told it."""
        return self.final if self.has_final_size else None

    @property
    def at_end(self):
        """Whether the end is known and everything before it taken or thrown away."""
        return self.finished()

    @property
    def fragment_count(self):
        """Pieces that wait for others before them."""
        return self.fragments.count

    def memory(self):
        """Bytes held."""
        return pieces_memory(&self.ready) + pieces_memory(&self.fragments)

    def insert_bytes(self, uint64_t offset, const uint8_t[::1] data, bint fin=False):
        """`insert` for Python: one of 0 (fine), 1 (final size), 2 (too fragmented)."""
        return self.insert(offset, &data[0] if data.shape[0] else NULL, data.shape[0], fin)

    cpdef int set_final_size(self, uint64_t size) noexcept:
        """The peer tells the size of the whole stream, by FIN or RESET_STREAM."""
        if self.has_final_size:
            return INSERT_OK if size == self.final else INSERT_FINAL_SIZE
        if size < self.highest:
            return INSERT_FINAL_SIZE
        self.has_final_size = True
        self.final = self.highest = size
        if self.discarded:
            self.consumed = self.contiguous = size
        return INSERT_OK

    cdef int insert(self, uint64_t offset, const uint8_t *data, uint64_t length,
                    bint fin) except -1:
        """Take in a STREAM frame: one of the INSERT constants. On an error nothing has changed."""
        cdef uint64_t stop = offset + length
        cdef size_t i
        cdef Piece *first
        if self.has_final_size and stop > self.final:
            return INSERT_FINAL_SIZE
        if fin and self.set_final_size(stop):
            return INSERT_FINAL_SIZE
        if self.discarded:
            if stop > self.highest:
                self.highest = stop
            self.consumed = self.contiguous = self.highest
            return INSERT_OK
        if length == 0:
            # It tells at most where the stream ends: there is nothing to hold.
            if stop > self.highest:
                self.highest = stop
            return INSERT_OK
        if stop <= self.contiguous:
            return INSERT_OK
        if offset < self.contiguous:
            data += self.contiguous - offset
            offset = self.contiguous
        if offset > self.contiguous:
            return self.insert_fragment(offset, stop, data)
        if self.fragments.count:
            pieces_reserve(&self.ready, 1 + self.fragments.count)
        pieces_append(&self.ready, offset, data, <size_t>(stop - offset), RECEIVE_PACK)
        self.contiguous = stop
        if stop > self.highest:
            self.highest = stop
        if self.fragments.count == 0 or self.fragments.items[0].start > stop:
            return INSERT_OK
        # The gap is closed: what it held back follows, but for what has just come again.
        i = 0
        while i < self.fragments.count:
            first = self.fragments.items + i
            if first.start > self.contiguous:
                break
            if first.stop > self.contiguous:
                self.held -= length_of(first)
                first.data += self.contiguous - first.start
                first.start = self.contiguous
                self.contiguous = first.stop
                self.ready.items[self.ready.count] = first[0]
                self.ready.count += 1
            else:
                self.held -= length_of(first)
                release(first)
            i += 1
        pieces_remove(&self.fragments, 0, i)
        return INSERT_OK

    cdef int insert_fragment(self, uint64_t start, uint64_t stop, const uint8_t *data) except -1:
        """Hold ``[start, stop)`` until what is before it comes."""
        cdef Pieces *p = &self.fragments
        cdef size_t i, j, k, room
        cdef Piece piece
        cdef Piece *left
        if stop > self.highest:
            self.highest = stop
        i = pieces_find(p, start)
        if i < p.count and p.items[i].start <= start:
            data += p.items[i].stop - start
            start = p.items[i].stop
            i += 1
            if start >= stop:
                return INSERT_OK
        j = i
        while j < p.count and p.items[j].stop <= stop:
            j += 1
        if j < p.count and p.items[j].start < stop:
            stop = p.items[j].start
            if start >= stop:
                return INSERT_OK
        room = FRAGMENTS + <size_t>(self.held // FRAGMENT_BYTES)
        if room > MOST_FRAGMENTS:
            room = MOST_FRAGMENTS
        # Fragments i..j lie within the new one, and are replaced by it.
        if i < j:
            for k in range(i, j):
                self.held -= length_of(p.items + k)
                release(p.items + k)
            pieces_remove(p, i, j - i)
        elif i and p.items[i - 1].stop == start and stop - start < SMALL:
            left = p.items + i - 1
            if is_small(left) and length_of(left) + (stop - start) <= RECEIVE_PACK:
                piece_grow(left, data, <size_t>(stop - start), RECEIVE_PACK)
                self.held += stop - start
                self.join(i - 1)
                return INSERT_OK
        if p.count >= room:
            return INSERT_FRAGMENTED
        piece_of(&piece, start, data, <size_t>(stop - start))
        try:
            pieces_insert(p, i, &piece)
        except MemoryError:
            release(&piece)
            raise
        self.held += stop - start
        self.join(i)
        return INSERT_OK

    cdef int join(self, size_t i) except -1:
        """Pack fragment `i` with its neighbours where they touch and are small."""
        cdef Pieces *p = &self.fragments
        cdef Piece *left
        cdef Piece *right
        cdef size_t k, total
        for k in range(i + 1, i - 1 if i else 0, -1):
            if k >= p.count:
                continue
            left = p.items + k - 1
            right = p.items + k
            total = length_of(left) + length_of(right)
            if (
                left.stop == right.start
                and total <= RECEIVE_PACK
                and is_small(left)
                and is_small(right)
            ):
                piece_grow(left, right.data, length_of(right), RECEIVE_PACK)
                release(right)
                pieces_remove(p, k, 1)
        return 0

    cpdef bytes take(self, int64_t limit=-1):
        """Up to `limit` bytes in order, all there are if it is negative; empty if none."""
        cdef uint64_t n = self.readable_bytes()
        cdef Piece *piece
        cdef uint8_t *into
        cdef size_t part
        if limit >= 0 and <uint64_t>limit < n:
            n = limit
        if n == 0:
            return b""
        piece = self.ready.items
        if length_of(piece) == n and PyBytes_GET_SIZE(<object>piece.owner) == <Py_ssize_t>n:
            whole = <object>piece.owner
            release(piece)
            pieces_remove(&self.ready, 0, 1)
            self.consumed += n
            return <bytes>whole
        joined = PyBytes_FromStringAndSize(NULL, n)
        into = <uint8_t *>PyBytes_AS_STRING(joined)
        self.consumed += n
        while n:
            piece = self.ready.items
            part = length_of(piece)
            if part > n:
                memcpy(into, piece.data, n)
                piece.data += n
                piece.start += n
                break
            memcpy(into, piece.data, part)
            release(piece)
            pieces_remove(&self.ready, 0, 1)
            into += part
            n -= part
        return <bytes>joined

    cpdef uint64_t discard(self) noexcept:
        """Throw away what is here and what comes; how many bytes were dropped untaken."""
        cdef uint64_t dropped = self.highest - self.consumed
        pieces_clear(&self.ready)
        pieces_clear(&self.fragments)
        self.held = 0
        self.discarded = True
        self.consumed = self.contiguous = self.highest
        return dropped
