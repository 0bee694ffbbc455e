#define _GNU_SOURCE /* recvmmsg, sendmmsg, in6_pktinfo */
#include "ms_udp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#if MS_UDP_AVAILABLE

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Headers older than the kernels that have them (4.18 and 5.0). */
#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* Messages of one sendmmsg. */
#define SEND_MESSAGES 64

/* Room for the control messages of one message in: UDP_GRO, TOS or traffic class, and where to. */
#define CONTROL_IN (CMSG_SPACE(sizeof(int)) * 3 + CMSG_SPACE(sizeof(struct in6_pktinfo)))
#define CONTROL_OUT (CMSG_SPACE(sizeof(uint16_t)) + CMSG_SPACE(sizeof(struct in6_pktinfo)))

struct ms_udp_arena {
    struct mmsghdr headers[MS_UDP_SLOTS];
    struct iovec vectors[MS_UDP_SLOTS];
    struct sockaddr_in6 names[MS_UDP_SLOTS];
    union {
        char bytes[CONTROL_IN];
        struct cmsghdr align;
    } control[MS_UDP_SLOTS];
    ms_udp_message messages[MS_UDP_SLOTS];
    uint8_t *data;
};

ms_udp_arena *ms_udp_arena_new(void)
{
    ms_udp_arena *arena = calloc(1, sizeof *arena);
    if (!arena)
        return NULL;
    arena->data = malloc((size_t)MS_UDP_SLOTS * MS_UDP_SLOT_BYTES);
    if (!arena->data) {
        free(arena);
        return NULL;
    }
    for (int i = 0; i < MS_UDP_SLOTS; i++) {
        arena->vectors[i].iov_base = arena->data + (size_t)i * MS_UDP_SLOT_BYTES;
        arena->vectors[i].iov_len = MS_UDP_SLOT_BYTES;
        struct msghdr *header = &arena->headers[i].msg_hdr;
        header->msg_iov = &arena->vectors[i];
        header->msg_iovlen = 1;
        header->msg_name = &arena->names[i];
        header->msg_control = arena->control[i].bytes;
    }
    return arena;
}

void ms_udp_arena_free(ms_udp_arena *arena)
{
    free(arena->data);
    free(arena);
}

const ms_udp_message *ms_udp_messages(const ms_udp_arena *arena) { return arena->messages; }

static void name_from_socket(ms_udp_name *name, const struct sockaddr_in6 *from, socklen_t size)
{
    memset(name, 0, sizeof *name);
    if (size >= sizeof(struct sockaddr_in6) && from->sin6_family == AF_INET6) {
        name->family = 6;
        name->port = ntohs(from->sin6_port);
        name->flow = ntohl(from->sin6_flowinfo);
        name->scope = from->sin6_scope_id;
        memcpy(name->host, &from->sin6_addr, 16);
    } else if (size >= sizeof(struct sockaddr_in) && from->sin6_family == AF_INET) {
        struct sockaddr_in four;
        memcpy(&four, from, sizeof four);
        name->family = 4;
        name->port = ntohs(four.sin_port);
        memcpy(name->host, &four.sin_addr, 4);
    }
}

static socklen_t name_to_socket(const ms_udp_name *name, struct sockaddr_in6 *to)
{
    memset(to, 0, sizeof *to);
    if (name->family == 6) {
        to->sin6_family = AF_INET6;
        to->sin6_port = htons(name->port);
        to->sin6_flowinfo = htonl(name->flow);
        to->sin6_scope_id = name->scope;
        memcpy(&to->sin6_addr, name->host, 16);
        return sizeof *to;
    }
    struct sockaddr_in four;
    memset(&four, 0, sizeof four);
    four.sin_family = AF_INET;
    four.sin_port = htons(name->port);
    memcpy(&four.sin_addr, name->host, 4);
    memcpy(to, &four, sizeof four);
    return sizeof four;
}

static void read_control(struct msghdr *header, ms_udp_message *message)
{
    message->segment = message->size;
    message->ecn = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
        int value = 0;
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
            message->ecn = *(const uint8_t *)CMSG_DATA(c) & 3; /* one byte, unlike the others */
            continue;
        }
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO &&
            message->name.family == 4) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            memcpy(message->name.local, &info.ipi_addr, 4);
            message->name.has_local = 1;
            continue;
        }
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            memcpy(message->name.local, &info.ipi6_addr, 16);
            message->name.has_local = 1;
            continue;
        }
        if (c->cmsg_len < CMSG_LEN(sizeof value))
            continue;
        memcpy(&value, CMSG_DATA(c), sizeof value);
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
            if (value > 0 && (uint32_t)value < message->size)
                message->segment = (uint32_t)value;
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
            message->ecn = (uint32_t)value & 3;
        }
    }
}

int ms_udp_receive(ms_udp_arena *arena, int fd, int slots)
{
    for (int i = 0; i < slots; i++) {
        struct msghdr *header = &arena->headers[i].msg_hdr;
        header->msg_namelen = sizeof arena->names[i];
        header->msg_controllen = CONTROL_IN;
        header->msg_flags = 0;
    }
    int n;
    do
        n = recvmmsg(fd, arena->headers, (unsigned)slots, MSG_DONTWAIT, NULL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++) {
        struct msghdr *header = &arena->headers[i].msg_hdr;
        ms_udp_message *message = &arena->messages[i];
        name_from_socket(&message->name, &arena->names[i], header->msg_namelen);
        message->data = arena->vectors[i].iov_base;
        message->size = header->msg_flags & MSG_TRUNC ? 0 : arena->headers[i].msg_len;
        read_control(header, message);
    }
    return n;
}

typedef struct position {
    size_t item;
    size_t offset;
} position;

typedef struct outgoing {
    struct mmsghdr headers[SEND_MESSAGES];
    struct iovec vectors[SEND_MESSAGES];
    struct sockaddr_in6 names[SEND_MESSAGES];
    union {
        char bytes[CONTROL_OUT];
        struct cmsghdr align;
    } control[SEND_MESSAGES];
    position ends[SEND_MESSAGES];
    size_t segments[SEND_MESSAGES];
    int joined[SEND_MESSAGES];
} outgoing;

static void add_control(struct msghdr *header, char *control, int level, int type,
                        const void *value, size_t size)
{
    header->msg_control = control;
    struct cmsghdr *c = (struct cmsghdr *)(void *)(control + header->msg_controllen);
    memset(c, 0, CMSG_SPACE(size));
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(c), value, size);
    header->msg_controllen += CMSG_SPACE(size);
}

static void add_segment(struct msghdr *header, char *control, size_t segment)
{
    uint16_t value = (uint16_t)segment;
    add_control(header, control, SOL_UDP, UDP_SEGMENT, &value, sizeof value);
}

/* Answer from where the peer sent to. */
static void add_local(struct msghdr *header, char *control, const ms_udp_name *name)
{
    if (name->family == 4) {
        struct in_pktinfo info;
        memset(&info, 0, sizeof info);
        memcpy(&info.ipi_spec_dst, name->local, 4);
        add_control(header, control, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    } else {
        struct in6_pktinfo info;
        memset(&info, 0, sizeof info);
        memcpy(&info.ipi6_addr, name->local, 16);
        add_control(header, control, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    }
}

/* Fill in messages from `at` on: how many. */
static unsigned prepare(outgoing *out, const ms_udp_item *items, size_t n, position at, int gso)
{
    unsigned count = 0;
    while (count < SEND_MESSAGES && at.item < n) {
        const ms_udp_item *item = &items[at.item];
        size_t left = item->size - at.offset;
        size_t segment = item->segment ? item->segment : item->size;
        size_t most = segment;
        if (gso && segment < MS_UDP_GSO_BYTES / 2 && segment > 0) {
            size_t segments = MS_UDP_GSO_BYTES / segment;
            most = segment * (segments < MS_UDP_GSO_SEGMENTS ? segments : MS_UDP_GSO_SEGMENTS);
        }
        size_t size = left < most ? left : most;
        struct msghdr *header = &out->headers[count].msg_hdr;
        memset(header, 0, sizeof *header);
        out->vectors[count].iov_base = (void *)(uintptr_t)(item->data + at.offset);
        out->vectors[count].iov_len = size;
        header->msg_iov = &out->vectors[count];
        header->msg_iovlen = 1;
        if (item->name) {
            header->msg_namelen = name_to_socket(item->name, &out->names[count]);
            header->msg_name = &out->names[count];
        }
        if (size > segment)
            add_segment(header, out->control[count].bytes, segment);
        if (item->name && item->name->has_local)
            add_local(header, out->control[count].bytes, item->name);
        out->joined[count] = size > segment;
        out->segments[count] = size < segment ? size : segment;
        at.offset += size;
        if (at.offset >= item->size) {
            at.item++;
            at.offset = 0;
        }
        out->ends[count++] = at;
    }
    return count;
}

static int is_unusable(int error)
{
    return error == EBADF || error == ENOTSOCK || error == EFAULT || error == EDESTADDRREQ;
}

int ms_udp_send(int fd, const ms_udp_item *items, size_t n, ms_udp_sending *state)
{
    outgoing out;
    position at = {state->items, state->offset};
    /* Whether GSO is off for a trial: one datagram alone tells whether GSO was what failed. */
    int trial = 0;
    int retried = 0;
    int result = 0;
    state->blocked = 0;
    while (at.item < n) {
        int gso = state->gso && !trial;
        unsigned count = prepare(&out, items, n, at, gso);
        int sent = sendmmsg(fd, out.headers, trial ? 1 : count, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            at = out.ends[sent - 1];
            retried = 0;
            if (trial) {
                state->gso = 0;
                trial = 0;
            }
            continue;
        }
        int error = sent == 0 ? EAGAIN : errno;
        if (error == EINTR)
            continue;
        if (error == EAGAIN || error == EWOULDBLOCK) {
            state->blocked = 1;
            break;
        }
        if (is_unusable(error)) {
            result = -error;
            break;
        }
        if (out.joined[0] && (error == EIO || error == EINVAL || error == EOPNOTSUPP)) {
            trial = 1;
            continue;
        }
        trial = 0;
        /* An error that came by ICMP is about an earlier datagram: this one has another try. */
        if (error != EMSGSIZE && !retried) {
            retried = 1;
            continue;
        }
        retried = 0;
        state->error = error;
        if (error == EMSGSIZE && (!state->refused || out.segments[0] < state->refused))
            state->refused = out.segments[0];
        at = out.ends[0];
    }
    state->items = at.item;
    state->offset = at.offset;
    return result;
}

int ms_udp_enable_gro(int fd)
{
    int on = 1;
    return setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on) == 0;
}

int ms_udp_enable_ecn(int fd, int is_ipv6)
{
    int on = 1;
    int four = setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof on) == 0;
    if (!is_ipv6)
        return four;
    return setsockopt(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof on) == 0;
}

int ms_udp_enable_local(int fd, int is_ipv6)
{
    int on = 1;
    if (is_ipv6)
        return setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on) == 0;
    return setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) == 0;
}

int ms_udp_has_gso(int fd)
{
    int value = 0;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_UDP, UDP_SEGMENT, &value, &size) == 0;
}

int ms_udp_host_text(const ms_udp_name *name, char *text)
{
    int family = name->family == 6 ? AF_INET6 : AF_INET;
    return inet_ntop(family, name->host, text, MS_UDP_HOST_TEXT) != NULL;
}

int ms_udp_host_parse(const char *text, int family, ms_udp_name *name)
{
    memset(name->host, 0, sizeof name->host);
    name->family = (uint16_t)family;
    if (family == 4)
        return inet_pton(AF_INET, text, name->host) == 1;
    if (inet_pton(AF_INET6, text, name->host) == 1)
        return 1;
    memset(name->host, 0, 10);
    name->host[10] = name->host[11] = 0xff;
    return inet_pton(AF_INET, text, name->host + 12) == 1;
}

#else

ms_udp_arena *ms_udp_arena_new(void) { return NULL; }
void ms_udp_arena_free(ms_udp_arena *arena) { (void)arena; }

int ms_udp_receive(ms_udp_arena *arena, int fd, int slots)
{
    (void)arena, (void)fd, (void)slots;
    return -ENOSYS;
}

const ms_udp_message *ms_udp_messages(const ms_udp_arena *arena)
{
    (void)arena;
    return NULL;
}

int ms_udp_send(int fd, const ms_udp_item *items, size_t n, ms_udp_sending *state)
{
    (void)fd, (void)items, (void)n, (void)state;
    return -ENOSYS;
}

int ms_udp_enable_gro(int fd)
{
    (void)fd;
    return 0;
}

int ms_udp_enable_ecn(int fd, int is_ipv6)
{
    (void)fd, (void)is_ipv6;
    return 0;
}

int ms_udp_enable_local(int fd, int is_ipv6)
{
    (void)fd, (void)is_ipv6;
    return 0;
}

int ms_udp_has_gso(int fd)
{
    (void)fd;
    return 0;
}

int ms_udp_host_text(const ms_udp_name *name, char *text)
{
    (void)name, (void)text;
    return 0;
}

int ms_udp_host_parse(const char *text, int family, ms_udp_name *name)
{
    (void)text, (void)family, (void)name;
    return 0;
}

#endif
