/* Datagrams in batches: recvmmsg with UDP_GRO, sendmmsg with UDP_SEGMENT.
 *
 * Linux only. Elsewhere everything is there and answers that it is not (MS_UDP_AVAILABLE is 0), and
 * callers use plain sockets.
 *
 * What holds:
 *  - Nothing blocks: sockets are to be non-blocking, and "would block" is an answer.
 *  - A GSO message has at most 64 segments (UDP_MAX_SEGMENTS of kernels before 6.x) and at most
 *    MS_UDP_GSO_BYTES, all of one size but the last.
 *  - Errors of the network are told, and cost the datagrams that they are about, as the network
 *    itself may. Only a descriptor that is none is an error of the call.
 *
 * Nothing here calls Python; all may run without the GIL. One arena is for one thread at a time.
 */
#ifndef MS_UDP_H
#define MS_UDP_H

#include <stddef.h>
#include <stdint.h>

#if defined(__linux__)
#define MS_UDP_AVAILABLE 1
#else
#define MS_UDP_AVAILABLE 0
#endif

/* Messages that one call of ms_udp_receive takes at most, and bytes of each: the largest that
 * UDP_GRO hands out. Pages that nothing is written to are never resident. */
#define MS_UDP_SLOTS 16
#define MS_UDP_SLOT_BYTES 65536

#define MS_UDP_GSO_SEGMENTS 64
#define MS_UDP_GSO_BYTES 65000

/* Room for an IPv6 address as text. */
#define MS_UDP_HOST_TEXT 46

/* A peer's address, and the one of ours that it uses; 48 bytes without padding, so that equal ones
 * are equal as memory. */
typedef struct ms_udp_name {
    uint16_t family; /* 4, 6, or 0: none */
    uint16_t port;   /* host byte order, as the rest */
    uint32_t flow;
    uint32_t scope;
    uint8_t host[16]; /* network byte order; 4 of them for IPv4, the rest 0 */
    uint8_t local[16]; /* likewise: where it sent to, and is to be answered from */
    uint32_t has_local; /* whether that is known, as it is after ms_udp_enable_local */
} ms_udp_name;

typedef struct ms_udp_message {
    ms_udp_name name;
    const uint8_t *data;
    uint32_t size;
    uint32_t segment; /* bytes of each datagram but the last; `size` where there is one datagram */
    uint32_t ecn;     /* the two bits of RFC 3168; 0 where not asked for */
} ms_udp_message;

typedef struct ms_udp_arena ms_udp_arena;

typedef struct ms_udp_item {
    const uint8_t *data;
    size_t size;
    size_t segment; /* bytes of each datagram but the last; 0: all is one */
    const ms_udp_name *name; /* NULL: the socket is connected */
} ms_udp_item;

typedef struct ms_udp_sending {
    int gso;        /* in, out: whether UDP_SEGMENT may be used; a kernel or a device that refuses
                       it turns this off */
    int blocked;    /* out: the socket took no more */
    int error;      /* out: errno of the last datagram that was lost to one, 0 for none */
    size_t refused; /* out: the smallest datagram that was too large for the interface, 0 for none */
    size_t items;   /* in, out: items that are done with */
    size_t offset;  /* in, out: bytes of the next one that are */
} ms_udp_sending;

/* NULL where there is no memory. */
ms_udp_arena *ms_udp_arena_new(void);
void ms_udp_arena_free(ms_udp_arena *arena);

/* Take up to `slots` waiting messages, 1 to MS_UDP_SLOTS: how many, or -errno (-EAGAIN where none
 * waits). They are in the arena until it is used again. A message that did not fit has size 0. */
int ms_udp_receive(ms_udp_arena *arena, int fd, int slots);
const ms_udp_message *ms_udp_messages(const ms_udp_arena *arena);

/* Send from (items, offset) of `state` on: 0, or -errno where the descriptor is unusable. */
int ms_udp_send(int fd, const ms_udp_item *items, size_t n, ms_udp_sending *state);

/* Have the kernel join datagrams for us: 1 where it does. */
int ms_udp_enable_gro(int fd);
/* Have it tell ECN bits with each message: 1 where it does. */
int ms_udp_enable_ecn(int fd, int is_ipv6);
/* Have it tell which of our addresses each message came to: 1 where it does. A socket that is bound
 * to all of them would else answer from the one that routing likes best, which the peer does not
 * know. */
int ms_udp_enable_local(int fd, int is_ipv6);
/* Whether the kernel knows UDP_SEGMENT. */
int ms_udp_has_gso(int fd);

/* The host of a name as text, and the other way round: 1, or 0 where it is none. For family 6, an
 * IPv4 text becomes the mapped address. */
int ms_udp_host_text(const ms_udp_name *name, char *text);
int ms_udp_host_parse(const char *text, int family, ms_udp_name *name);

#endif
