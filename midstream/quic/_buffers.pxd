"""Use from other compiled modules: ``from midstream.quic._buffers cimport SendBuffer``."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef enum:
    #: What `ReceiveBuffer.insert` and `.set_final_size` answer; negative is an exception.
    INSERT_OK = 0
    #: RFC 9000, section 4.5: the caller closes the connection with FINAL_SIZE_ERROR.
    INSERT_FINAL_SIZE = 1
    #: More fragments than any honest peer causes: the caller closes the connection.
    INSERT_FRAGMENTED = 2


cdef struct Range:
    uint64_t start
    uint64_t stop


cdef class Ranges:
    cdef Range *memory
    #: The first range; it moves up as the oldest are dropped.
    cdef Range *items
    cdef size_t capacity
    cdef readonly size_t count
    #: Most ranges kept, 0 for any number.
    cdef readonly size_t limit

    cdef int reserve(self) except -1
    cdef int insert_at(self, size_t i, uint64_t start, uint64_t stop) except -1
    cdef void remove(self, size_t i, size_t n) noexcept
    cdef size_t after(self, uint64_t value) noexcept
    cpdef int add(self, uint64_t start, uint64_t stop) except -1
    cpdef int subtract(self, uint64_t start, uint64_t stop) except -1
    cpdef bint contains(self, uint64_t value) noexcept
    cpdef bint covers(self, uint64_t start, uint64_t stop) noexcept
    cpdef void drop_below(self, uint64_t value) noexcept
    cpdef void clear(self) noexcept


cdef struct Piece:
    #: An exact `bytes`, referenced once by this piece.
    void *owner
    uint8_t *data
    uint64_t start
    uint64_t stop
    #: Bytes that may still be written behind `data`.
    uint32_t spare
    #: Made here, with room to grow, and seen by nobody else.
    bint packed


cdef struct Pieces:
    Piece *memory
    Piece *items
    size_t count
    size_t capacity


cdef class SendBuffer:
    cdef Pieces chunks
    #: Where the next sequential copy is likely to begin: an index into `chunks`.
    cdef size_t cursor
    cdef Ranges acked
    cdef Ranges lost
    #: All below is acknowledged and freed.
    cdef readonly uint64_t base
    #: First offset never sent.
    cdef readonly uint64_t next
    #: One past the last byte written.
    cdef readonly uint64_t end
    cdef readonly bint fin
    #: The FIN is in flight or acknowledged.
    cdef readonly bint fin_sent
    cdef readonly bint fin_acked
    cdef readonly bint cleared

    cpdef int write(self, data) except -1
    cpdef int finish(self) except -1
    cdef int next_frame(self, uint64_t max_bytes, uint64_t max_offset, uint64_t *offset,
                        uint64_t *length, bint *fin) except -1
    cdef void copy(self, uint64_t offset, uint64_t length, uint8_t *into) noexcept
    cpdef int on_acked(self, uint64_t offset, uint64_t length, bint fin) except -1
    cpdef int on_lost(self, uint64_t offset, uint64_t length, bint fin) except -1
    cpdef void rewind(self) noexcept
    cpdef void clear(self) noexcept
    cdef bint can_send(self, uint64_t max_offset) noexcept

    cdef inline uint64_t unsent_bytes(self) noexcept:
        return self.end - self.next

    cdef inline uint64_t unacked_bytes(self) noexcept:
        return self.end - self.base

    cdef inline bint pending(self) noexcept:
        return (
            self.next < self.end
            or (self.fin and not self.fin_sent)
            or (self.lost is not None and self.lost.count > 0)
        )

    cdef inline bint done(self) noexcept:
        return self.fin_acked and self.base == self.end


cdef class ReceiveBuffer:
    cdef Pieces ready
    cdef Pieces fragments
    #: Bytes held in `fragments`.
    cdef uint64_t held
    #: All below has arrived.
    cdef readonly uint64_t contiguous
    #: What was taken, or thrown away.
    cdef readonly uint64_t consumed
    #: One past the highest byte that the peer sent, or its final size.
    cdef readonly uint64_t highest
    cdef readonly bint has_final_size
    cdef readonly bint discarded
    cdef uint64_t final

    cdef int insert(self, uint64_t offset, const uint8_t *data, uint64_t length,
                    bint fin) except -1
    cdef int insert_fragment(self, uint64_t start, uint64_t stop, const uint8_t *data) except -1
    cdef int join(self, size_t i) except -1
    cpdef int set_final_size(self, uint64_t size) noexcept
    cpdef bytes take(self, int64_t limit=*)
    cpdef uint64_t discard(self) noexcept

    cdef inline uint64_t readable_bytes(self) noexcept:
        return self.contiguous - self.consumed

    cdef inline bint finished(self) noexcept:
        return self.has_final_size and self.consumed == self.final
