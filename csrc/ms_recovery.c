#include "ms_recovery.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* States of a packet in the ring. Only the last two have a `skip`. */
enum { OUT, LOST, ACKED, DONE };

/* A packet's flag of our own: it was taken for lost by time, not by number. */
enum { BY_TIME = 0x80 };

enum {
    GRANULARITY_NS = 1000000,     /* kGranularity (RFC 9002, 6.1.2) */
    PACKET_THRESHOLD = 3,         /* kPacketThreshold (6.1.1) */
    MAX_PACKET_THRESHOLD = 64,    /* learned: beyond that, a loss is found too late */
    MAX_TIME_EIGHTHS = 8,         /* learned: at most two round trips */
    PERSISTENT_THRESHOLD = 3,     /* kPersistentCongestionThreshold (7.6.1) */
    MIN_WINDOW_DATAGRAMS = 2,     /* kMinimumWindow (7.2) */
    PROBES = 2,                   /* packets at a probe timeout (6.2.4) */
    MAX_PTO_SHIFT = 16,           /* beyond a day; the idle timeout has ended the connection before */
    FIRST_CAPACITY = 64,
    /* Numbers from the oldest packet in the ring to the next, at least and at most: a peer that never
     * acknowledges does not grow the ring beyond. The most is 157 MB of datagrams of 1200 bytes, more
     * than max_window. */
    MIN_SPAN = 1 << 13,
    MAX_SPAN = 1 << 17,
    /* Lost packets are kept, to learn that they came after all, while fewer than this many are. */
    MAX_LOST_SPAN = 1 << 12,
};
#define MAX_WINDOW (UINT64_C(128) << 20)
#define MAX_BURST (256.0 * 1024)

/* CUBIC (RFC 9438, 4.1 and 4.6). */
static const double C = 0.4, BETA = 0.7;
/* HyStart++ (RFC 9406, 4.3). */
enum {
    HYSTART_SAMPLES = 8,
    HYSTART_MIN_NS = 4000000,
    HYSTART_MAX_NS = 16000000,
    HYSTART_DIVISOR = 8,
    CSS_GROWTH_DIVISOR = 4,
    CSS_ROUNDS = 5,
};

static ms_sent_packet *packet_at(const ms_recovery *r, uint64_t number)
{
    return &r->packets[number & r->mask];
}

static double minimum_window(const ms_recovery *r)
{
    return (double)MIN_WINDOW_DATAGRAMS * r->datagram;
}

/* min(10 * max_datagram_size, max(2 * max_datagram_size, 14720)) (RFC 9002, 7.2). */
static double initial_window(const ms_recovery *r)
{
    const double ten = 10.0 * r->datagram, least = fmax(minimum_window(r), 14720.0);
    return fmin(ten, least);
}

static void begin_window(ms_recovery *r)
{
    memset(&r->window, 0, sizeof r->window);
    r->window.window = initial_window(r);
    r->window.ssthresh = INFINITY;
    r->window.epoch_ns = MS_NEVER;
    memset(&r->hystart, 0, sizeof r->hystart);
    r->hystart.last_min_ns = r->hystart.current_min_ns = MS_NEVER;
    r->hystart.done = r->controller != MS_CUBIC;
    r->hystart.window_end = r->next;
    r->recovery_ns = r->undo_before_ns = INT64_MIN;
    r->undo_lost = r->undo_spurious = 0;
    r->lost_run_ns = MS_NEVER;
}

static void begin_rtt(ms_recovery *r, int64_t initial_rtt_ns)
{
    r->latest_ns = 0;
    r->min_ns = 0;
    r->smoothed_ns = initial_rtt_ns;
    r->variance_ns = initial_rtt_ns / 2;
    r->first_sample_ns = MS_NEVER;
}

void ms_recovery_init(ms_recovery *r, ms_controller controller, uint32_t max_datagram_size,
                      int64_t initial_rtt_ns, int64_t max_ack_delay_ns)
{
    memset(r, 0, sizeof *r);
    r->controller = controller;
    r->datagram = max_datagram_size;
    r->max_window = MAX_WINDOW;
    r->max_ack_delay_ns = max_ack_delay_ns;
    r->largest_acked = -1;
    r->loss_ns = MS_NEVER;
    r->packet_threshold = PACKET_THRESHOLD;
    r->time_eighths = 1; /* kTimeThreshold is 9/8 (RFC 9002, 6.1.2) */
    r->tokens_ns = MS_NEVER;
    begin_rtt(r, initial_rtt_ns);
    begin_window(r);
}

void ms_recovery_free(ms_recovery *r)
{
    free(r->packets);
    free(r->pool);
    free(r->acked.items);
    free(r->lost.items);
    free(r->outcomes);
    r->packets = NULL;
    r->pool = NULL;
    r->acked = r->lost = (ms_records){0};
    r->outcomes = NULL;
}

size_t ms_recovery_bytes(const ms_recovery *r)
{
    return (r->packets ? (r->mask + 1) * sizeof *r->packets : 0) +
           (r->pool ? (r->pool_mask + 1) * sizeof *r->pool : 0) +
           (r->acked.capacity + r->lost.capacity) * sizeof(ms_record) +
           r->outcome_capacity * sizeof *r->outcomes;
}

/* -- memory ----------------------------------------------------------------------------------- */

static int grow_ring(ms_recovery *r)
{
    const uint64_t capacity = r->packets ? 2 * (r->mask + 1) : FIRST_CAPACITY;
    ms_sent_packet *packets = malloc(capacity * sizeof *packets);
    if (!packets)
        return MS_RECOVERY_MEMORY;
    for (uint64_t i = r->head; i < r->next; i++)
        packets[i & (capacity - 1)] = *packet_at(r, i);
    free(r->packets);
    r->packets = packets;
    r->mask = capacity - 1;
    return MS_RECOVERY_OK;
}

static int grow_pool(ms_recovery *r)
{
    const uint64_t capacity = r->pool ? 2 * (r->pool_mask + 1) : FIRST_CAPACITY;
    ms_record *pool = malloc(capacity * sizeof *pool);
    if (!pool)
        return MS_RECOVERY_MEMORY;
    for (uint64_t i = r->record_head; i < r->record_next; i++)
        pool[i & (capacity - 1)] = r->pool[i & r->pool_mask];
    free(r->pool);
    r->pool = pool;
    r->pool_mask = capacity - 1;
    return MS_RECOVERY_OK;
}

static int reserve_records(ms_records *list, size_t more)
{
    if (list->count + more <= list->capacity)
        return MS_RECOVERY_OK;
    size_t capacity = list->capacity ? 2 * list->capacity : FIRST_CAPACITY;
    while (capacity < list->count + more)
        capacity *= 2;
    ms_record *items = realloc(list->items, capacity * sizeof *items);
    if (!items)
        return MS_RECOVERY_MEMORY;
    list->items = items;
    list->capacity = capacity;
    return MS_RECOVERY_OK;
}

static int reserve_outcome(ms_recovery *r)
{
    if (r->controller != MS_EXTERNAL || r->outcome_count < r->outcome_capacity)
        return MS_RECOVERY_OK;
    const size_t capacity = r->outcome_capacity ? 2 * r->outcome_capacity : FIRST_CAPACITY;
    ms_outcome *outcomes = realloc(r->outcomes, capacity * sizeof *outcomes);
    if (!outcomes)
        return MS_RECOVERY_MEMORY;
    r->outcomes = outcomes;
    r->outcome_capacity = capacity;
    return MS_RECOVERY_OK;
}

/* Move a packet's records onto a list. The caller has reserved. */
static void hand_over(ms_recovery *r, ms_sent_packet *p, ms_records *list)
{
    for (uint32_t i = 0; i < p->records; i++)
        list->items[list->count++] = r->pool[(p->record + i) & r->pool_mask];
    p->records = 0;
}

/* -- the ring --------------------------------------------------------------------------------- */

/* The highest number in [head, number] whose packet may still be acknowledged, or -1. */
static int64_t open_at_or_below(const ms_recovery *r, uint64_t number)
{
    int64_t at = (int64_t)number;
    while (at >= (int64_t)r->head) {
        ms_sent_packet *p = packet_at(r, (uint64_t)at);
        if (!p->skip)
            return at;
        const int64_t below = at - p->skip;
        if (below >= (int64_t)r->head)
            p->skip += packet_at(r, (uint64_t)below)->skip; /* path halving */
        at -= p->skip;
    }
    return -1;
}

/* Take a packet that is out of flight, whatever became of it. */
static void leave_flight(ms_recovery *r, const ms_sent_packet *p)
{
    if (p->flags & MS_IN_FLIGHT) {
        r->bytes_in_flight -= p->bytes;
        if (p->flags & MS_ACK_ELICITING)
            r->eliciting--;
    }
}

static void tell_outcome(ms_recovery *r, uint64_t number, const ms_sent_packet *p, uint8_t became)
{
    if (r->controller == MS_EXTERNAL && p->flags & MS_IN_FLIGHT)
        r->outcomes[r->outcome_count++] =
            (ms_outcome){number, p->sent_ns, p->bytes, p->flags, became};
}

/* Records to `lost`, the packet out of flight. */
static int give_up(ms_recovery *r, uint64_t number, uint8_t became)
{
    ms_sent_packet *p = packet_at(r, number);
    if (reserve_outcome(r) || reserve_records(&r->lost, p->records))
        return MS_RECOVERY_MEMORY;
    hand_over(r, p, &r->lost);
    leave_flight(r, p);
    tell_outcome(r, number, p, became);
    p->state = LOST;
    return MS_RECOVERY_OK;
}

/* Let the oldest packets go that nothing can be learned of any more. */
static void trim(ms_recovery *r, int64_t now_ns)
{
    const int64_t keep_ns = 3 * ms_recovery_pto(r);
    while (r->head < r->low) {
        const ms_sent_packet *p = packet_at(r, r->head);
        if (p->state == LOST && r->low - r->head < MAX_LOST_SPAN && p->sent_ns > now_ns - keep_ns)
            break;
        r->head++;
    }
    r->record_head = r->head < r->next ? packet_at(r, r->head)->record : r->record_open;
    if (r->probe < r->low)
        r->probe = r->low;
}

/* As many as the window holds of packets of 32 bytes: what is beyond are acknowledgements that a peer
 * does not answer. */
static uint64_t longest_span(const ms_recovery *r)
{
    const uint64_t packets = ms_recovery_window(r) / 32;
    return packets < MIN_SPAN ? MIN_SPAN : packets > MAX_SPAN ? MAX_SPAN : packets;
}

/* Make room for one packet number more. */
static int make_room(ms_recovery *r)
{
    const uint64_t longest = longest_span(r);
    while (r->next - r->head >= longest) {
        const ms_sent_packet *p = packet_at(r, r->head);
        if (p->state == OUT) {
            if (give_up(r, r->head, MS_WAS_DROPPED))
                return MS_RECOVERY_MEMORY;
            r->packets_lost += (p->flags & MS_IN_FLIGHT) != 0;
        }
        r->head++;
        if (r->low < r->head)
            r->low = r->head;
        if (r->probe < r->low)
            r->probe = r->low;
        r->record_head = packet_at(r, r->head)->record;
    }
    if (!r->packets || r->next - r->head > r->mask)
        return grow_ring(r);
    return MS_RECOVERY_OK;
}

/* -- the window ------------------------------------------------------------------------------- */

static int in_slow_start(const ms_recovery *r) { return r->window.window < r->window.ssthresh; }

static void set_window(ms_recovery *r, double bytes)
{
    r->window.window = fmin(fmax(bytes, minimum_window(r)), (double)r->max_window);
}

double ms_recovery_cubic(const ms_recovery *r, double t_s)
{
    const double d = t_s - r->window.k_s;
    return C * d * d * d * r->datagram + r->window.w_max;
}

static void cubic_begin_epoch(ms_recovery *r, int64_t now_ns)
{
    ms_window *w = &r->window;
    w->epoch_ns = now_ns;
    w->w_est = w->window;
    if (w->window < w->w_max) {
        w->k_s = cbrt((w->w_max - w->window) / r->datagram / C);
    } else {
        w->k_s = 0;
        w->w_max = w->window;
    }
}

static void cubic_avoid(ms_recovery *r, uint64_t bytes, int64_t now_ns)
{
    ms_window *w = &r->window;
    if (w->epoch_ns == MS_NEVER)
        cubic_begin_epoch(r, now_ns);
    const double t_s = (double)(now_ns - w->epoch_ns) * 1e-9;
    const double rtt_s = (double)r->smoothed_ns * 1e-9;
    /* Reno-friendly estimate (4.3): once it is back where it was, it grows as Reno does. */
    const double alpha = w->w_est >= w->prior ? 1.0 : 3.0 * (1.0 - BETA) / (1.0 + BETA);
    w->w_est += alpha * r->datagram * (double)bytes / w->window;
    if (ms_recovery_cubic(r, t_s) < w->w_est) {
        if (w->w_est > w->window)
            set_window(r, w->w_est);
        return;
    }
    const double target =
        fmin(fmax(ms_recovery_cubic(r, t_s + rtt_s), w->window), 1.5 * w->window);
    set_window(r, w->window + (target - w->window) * (double)bytes / w->window);
}

static void end_slow_start(ms_recovery *r)
{
    r->hystart.done = 1;
    r->window.ssthresh = r->window.w_max = r->window.prior = r->window.window;
}

/* One ACK's round trip, for slow start's end before losses (RFC 9406, 4.2). */
static void hystart_sample(ms_recovery *r, int64_t rtt_ns)
{
    ms_hystart *h = &r->hystart;
    if (h->done)
        return;
    if (rtt_ns < h->current_min_ns)
        h->current_min_ns = rtt_ns;
    if (++h->samples < HYSTART_SAMPLES)
        return;
    if (h->css) {
        if (h->current_min_ns < h->baseline_ns)
            h->css = 0; /* the rise was not one of the queue: slow start goes on */
        return;
    }
    if (h->last_min_ns == MS_NEVER)
        return;
    int64_t rise = h->last_min_ns / HYSTART_DIVISOR;
    rise = rise < HYSTART_MIN_NS ? HYSTART_MIN_NS : rise > HYSTART_MAX_NS ? HYSTART_MAX_NS : rise;
    if (h->current_min_ns >= h->last_min_ns + rise) {
        h->css = 1;
        h->css_rounds = 0;
        h->baseline_ns = h->current_min_ns;
    }
}

/* A round is over when what was sent last as it began is acknowledged. */
static void hystart_round(ms_recovery *r, uint64_t largest)
{
    ms_hystart *h = &r->hystart;
    if (h->done || largest < h->window_end)
        return;
    h->last_min_ns = h->current_min_ns;
    h->current_min_ns = MS_NEVER;
    h->samples = 0;
    h->window_end = r->next;
    if (h->css && ++h->css_rounds >= CSS_ROUNDS)
        end_slow_start(r);
}

static void on_acked(ms_recovery *r, uint64_t bytes, int64_t now_ns)
{
    ms_window *w = &r->window;
    if (bytes == 0) {
        /* The window was not used: time that did not test it must not open it (RFC 9438, 5.8). */
        if (w->epoch_ns != MS_NEVER)
            w->epoch_ns += now_ns - r->last_ack_ns;
    } else if (r->controller == MS_EXTERNAL) {
        /* it is told packet by packet */
    } else if (in_slow_start(r)) {
        set_window(r, w->window + (double)(r->hystart.css ? bytes / CSS_GROWTH_DIVISOR : bytes));
    } else if (r->controller == MS_CUBIC) {
        cubic_avoid(r, bytes, now_ns);
    } else {
        set_window(r, w->window + (double)r->datagram * (double)bytes / w->window);
    }
    r->last_ack_ns = now_ns;
}

void ms_recovery_congested(ms_recovery *r, int64_t sent_ns, int64_t now_ns)
{
    if (sent_ns <= r->recovery_ns)
        return;
    ms_window *w = &r->window;
    r->undo = *w;
    r->undo_before_ns = r->recovery_ns;
    r->undo_lost = r->undo_spurious = 0;
    r->recovery_ns = now_ns;
    r->congestion_events++;
    if (r->controller == MS_EXTERNAL)
        return;
    double factor = 0.5; /* kLossReductionFactor (RFC 9002, 7.3.2) */
    if (r->controller == MS_CUBIC) {
        factor = BETA;
        /* Fast convergence (RFC 9438, 4.7): the share shrinks, so leave room for who takes it. */
        w->w_max = w->window < w->w_max ? w->window * (1.0 + BETA) / 2.0 : w->window;
        w->prior = w->window;
        w->epoch_ns = MS_NEVER;
    }
    r->hystart.done = 1;
    set_window(r, w->window * factor);
    w->ssthresh = w->window;
}

/* Everything that was taken for lost in this period came: it was reordering, not congestion
 * (RFC 9438, 4.9). */
static void undo_congestion(ms_recovery *r)
{
    if (r->controller != MS_EXTERNAL && r->undo.window > r->window.window)
        r->window = r->undo;
    r->recovery_ns = r->undo_before_ns;
    r->undo_lost = 0;
}

static void on_persistent_congestion(ms_recovery *r)
{
    r->persistent_events++;
    r->recovery_ns = INT64_MIN;
    r->undo_lost = UINT64_MAX / 2; /* not undone */
    if (r->controller != MS_EXTERNAL) {
        r->window.window = minimum_window(r);
        r->window.epoch_ns = MS_NEVER;
    }
}

void ms_recovery_set_window(ms_recovery *r, uint64_t bytes) { set_window(r, (double)bytes); }

void ms_recovery_set_max_datagram_size(ms_recovery *r, uint32_t bytes)
{
    const int untouched = r->window.window == initial_window(r);
    r->datagram = bytes;
    set_window(r, untouched ? initial_window(r) : r->window.window);
}

void ms_recovery_new_path(ms_recovery *r, int64_t initial_rtt_ns)
{
    begin_rtt(r, initial_rtt_ns);
    begin_window(r);
    r->limited_next = 0;
    r->path_begin = r->next;
    r->pto_count = 0;
    r->tokens_ns = MS_NEVER;
}

/* -- sending ---------------------------------------------------------------------------------- */

int ms_recovery_skip(ms_recovery *r, uint64_t count)
{
    if (count == 0)
        return MS_RECOVERY_OK;
    if (r->head == r->next) { /* nothing in the ring: it may begin anywhere */
        r->next += count;
        r->head = r->low = r->probe = r->next;
    } else {
        for (uint64_t i = 0; i < count; i++) {
            if (make_room(r))
                return MS_RECOVERY_MEMORY;
            *packet_at(r, r->next) =
                (ms_sent_packet){.record = r->record_open, .skip = 1, .state = DONE};
            r->next++;
        }
    }
    r->skipped[r->skips++ % (sizeof r->skipped / sizeof *r->skipped)] = r->next - 1;
    return MS_RECOVERY_OK;
}

int ms_recovery_record(ms_recovery *r, const ms_record *record)
{
    if ((!r->pool || r->record_next - r->record_head > r->pool_mask) && grow_pool(r))
        return MS_RECOVERY_MEMORY;
    r->pool[r->record_next++ & r->pool_mask] = *record;
    return MS_RECOVERY_OK;
}

int ms_recovery_abandon(ms_recovery *r)
{
    if (reserve_records(&r->lost, ms_recovery_open_records(r)))
        return MS_RECOVERY_MEMORY;
    for (uint64_t i = r->record_open; i < r->record_next; i++)
        r->lost.items[r->lost.count++] = r->pool[i & r->pool_mask];
    r->record_next = r->record_open;
    return MS_RECOVERY_OK;
}

static void refill(ms_recovery *r, int64_t now_ns)
{
    const double burst = ms_recovery_pacing_burst(r);
    if (r->tokens_ns == MS_NEVER) {
        r->tokens = burst;
    } else if (now_ns > r->tokens_ns) {
        r->tokens += (double)(now_ns - r->tokens_ns) * 1e-9 * ms_recovery_pacing_rate(r);
    } else {
        now_ns = r->tokens_ns;
    }
    r->tokens = fmin(r->tokens, burst);
    r->tokens_ns = now_ns;
}

int64_t ms_recovery_sent(ms_recovery *r, int64_t now_ns, uint32_t bytes, unsigned flags)
{
    if (make_room(r))
        return MS_RECOVERY_MEMORY;
    const uint64_t number = r->next++;
    for (uint64_t i = r->record_open; i < r->record_next; i++)
        r->pool[i & r->pool_mask].packet = number;
    *packet_at(r, number) = (ms_sent_packet){
        .sent_ns = now_ns,
        .record = r->record_open,
        .records = (uint32_t)(r->record_next - r->record_open),
        .bytes = bytes,
        .flags = (uint8_t)(flags & (MS_ACK_ELICITING | MS_IN_FLIGHT)),
        .state = OUT,
    };
    r->record_open = r->record_next;
    r->packets_sent++;
    if (!(flags & MS_IN_FLIGHT))
        return (int64_t)number;
    refill(r, now_ns);
    /* Probes may leave when the bucket is empty; what they owe has a bound. */
    r->tokens = fmax(r->tokens - bytes, -ms_recovery_pacing_burst(r));
    r->bytes_in_flight += bytes;
    if (flags & MS_ACK_ELICITING) {
        r->eliciting++;
        r->last_eliciting_ns = now_ns;
        if (r->probes)
            r->probes--;
    }
    /* Does this flight use the window? In slow start half of it will do, since ACKs let two packets
     * go for one; later, three datagrams from its end are its end (RFC 9002, 7.8). */
    const double used = (double)r->bytes_in_flight, window = r->window.window;
    if (used + 3.0 * r->datagram >= window || (in_slow_start(r) && used > window / 2))
        r->limited_next = r->next;
    return (int64_t)number;
}

uint64_t ms_recovery_can_send(const ms_recovery *r)
{
    const uint64_t window = ms_recovery_window(r);
    const uint64_t left = window > r->bytes_in_flight ? window - r->bytes_in_flight : 0;
    return r->probes && left < r->datagram ? r->datagram : left;
}

double ms_recovery_pacing_rate(const ms_recovery *r)
{
    const double rtt_s = (double)(r->smoothed_ns > 1000 ? r->smoothed_ns : 1000) * 1e-9;
    return 1.25 * r->window.window / rtt_s; /* N of RFC 9002, 7.7 */
}

double ms_recovery_pacing_burst(const ms_recovery *r)
{
    /* Event loops wake up a millisecond late, so two of them may leave at once; ten packets are the
     * initial window; 256 KiB are four segmented sends. */
    const double two_ms = 0.002 * ms_recovery_pacing_rate(r);
    return fmin(fmax(10.0 * r->datagram, two_ms), MAX_BURST);
}

uint64_t ms_recovery_pacing_budget(ms_recovery *r, int64_t now_ns)
{
    refill(r, now_ns);
    const double least = r->probes ? (double)r->datagram : 0.0;
    return (uint64_t)fmax(r->tokens, least);
}

int64_t ms_recovery_pacing_delay(ms_recovery *r, int64_t now_ns)
{
    refill(r, now_ns);
    if (r->probes || r->tokens >= r->datagram)
        return 0;
    /* Wait for half a burst, not for one datagram: sends are cheap when many leave together. */
    const double enough = fmax(r->datagram, ms_recovery_pacing_burst(r) / 2);
    return (int64_t)ceil((enough - r->tokens) / ms_recovery_pacing_rate(r) * 1e9);
}

/* -- round trips ------------------------------------------------------------------------------ */

void ms_recovery_rtt_sample(ms_recovery *r, int64_t rtt_ns, int64_t ack_delay_ns, int64_t now_ns)
{
    if (rtt_ns < 1)
        rtt_ns = 1;
    r->latest_ns = rtt_ns;
    r->rtt_samples++;
    if (r->min_ns == 0) {
        r->min_ns = r->smoothed_ns = rtt_ns;
        r->variance_ns = rtt_ns / 2;
        r->first_sample_ns = now_ns;
        return;
    }
    if (rtt_ns < r->min_ns)
        r->min_ns = rtt_ns;
    if (ack_delay_ns > r->max_ack_delay_ns)
        ack_delay_ns = r->max_ack_delay_ns;
    int64_t adjusted = rtt_ns;
    if (ack_delay_ns > 0 && rtt_ns >= r->min_ns + ack_delay_ns)
        adjusted -= ack_delay_ns;
    const int64_t off = r->smoothed_ns > adjusted ? r->smoothed_ns - adjusted
                                                  : adjusted - r->smoothed_ns;
    r->variance_ns = (3 * r->variance_ns + off) / 4;
    r->smoothed_ns = (7 * r->smoothed_ns + adjusted) / 8;
}

int64_t ms_recovery_pto(const ms_recovery *r)
{
    const int64_t spread = 4 * r->variance_ns;
    return r->smoothed_ns + (spread > GRANULARITY_NS ? spread : GRANULARITY_NS) +
           r->max_ack_delay_ns;
}

/* -- losses ----------------------------------------------------------------------------------- */

/* RFC 9002, A.10. Losses go by number as by time from the oldest on, so that the walk ends at the
 * first packet that is not lost, and passes each number once. */
static int detect_losses(ms_recovery *r, int64_t now_ns)
{
    r->loss_ns = MS_NEVER;
    const int64_t rtt_ns = r->latest_ns > r->smoothed_ns ? r->latest_ns : r->smoothed_ns;
    int64_t delay_ns = rtt_ns / 8 * (8 + r->time_eighths) + rtt_ns % 8 * (8 + r->time_eighths) / 8;
    if (delay_ns < GRANULARITY_NS)
        delay_ns = GRANULARITY_NS;
    uint64_t lost = 0;
    int64_t newest_ns = INT64_MIN;
    int persistent = 0;
    for (; (int64_t)r->low < r->largest_acked; r->low++) {
        ms_sent_packet *p = packet_at(r, r->low);
        if (p->state == ACKED) {
            r->lost_run_ns = MS_NEVER;
            continue;
        }
        if (p->state != OUT)
            continue;
        if (!(p->flags & MS_IN_FLIGHT)) {
            /* Only an ACK: nothing to wait for, no congestion to learn of. */
            if (give_up(r, r->low, MS_WAS_DROPPED))
                return MS_RECOVERY_MEMORY;
            p->state = DONE;
            p->skip = 1;
            continue;
        }
        const int by_number = r->largest_acked >= (int64_t)(r->low + r->packet_threshold);
        if (!by_number && p->sent_ns > now_ns - delay_ns) {
            r->loss_ns = p->sent_ns + delay_ns;
            break;
        }
        if (give_up(r, r->low, MS_WAS_LOST))
            return MS_RECOVERY_MEMORY;
        if (!by_number)
            p->flags |= BY_TIME;
        r->packets_lost++;
        if (r->low < r->path_begin)
            continue;
        if (p->sent_ns > newest_ns)
            newest_ns = p->sent_ns;
        lost += p->sent_ns > r->undo_before_ns;
        if (!(p->flags & MS_ACK_ELICITING) || r->min_ns == 0 || p->sent_ns <= r->first_sample_ns)
            continue;
        /* 7.6.2: two of a row without an ACK between, further apart than three probe timeouts. */
        if (r->lost_run_ns == MS_NEVER)
            r->lost_run_ns = p->sent_ns;
        else if (p->sent_ns - r->lost_run_ns > PERSISTENT_THRESHOLD * ms_recovery_pto(r))
            persistent = 1;
    }
    if (newest_ns != INT64_MIN) {
        ms_recovery_congested(r, newest_ns, now_ns);
        r->undo_lost += lost;
        if (persistent) {
            on_persistent_congestion(r);
            r->lost_run_ns = MS_NEVER;
        }
    }
    return MS_RECOVERY_OK;
}

/* It was taken for lost, and comes: be slower to do so. */
static void learn_spurious(ms_recovery *r, uint64_t number, const ms_sent_packet *p)
{
    r->packets_spurious++;
    if (p->flags & BY_TIME) {
        if (r->time_eighths < MAX_TIME_EIGHTHS)
            r->time_eighths *= 2;
    } else {
        const uint64_t need = (uint64_t)r->largest_acked - number + 1;
        if (need > r->packet_threshold)
            r->packet_threshold =
                need > MAX_PACKET_THRESHOLD ? MAX_PACKET_THRESHOLD : (uint32_t)need;
    }
    if (number >= r->path_begin && p->sent_ns > r->undo_before_ns &&
        p->sent_ns <= r->recovery_ns && r->undo_lost && ++r->undo_spurious >= r->undo_lost)
        undo_congestion(r);
}

/* -- acknowledgements ------------------------------------------------------------------------- */

int ms_recovery_ack_range(ms_recovery *r, uint64_t lo, uint64_t hi, int64_t now_ns)
{
    (void)now_ns;
    if (lo > hi || hi >= r->next)
        return MS_RECOVERY_VIOLATION;
    const unsigned kept = sizeof r->skipped / sizeof *r->skipped;
    for (unsigned i = 0; i < kept && i < r->skips; i++)
        if (r->skipped[i] >= lo && r->skipped[i] <= hi)
            return MS_RECOVERY_VIOLATION;
    for (int64_t at = open_at_or_below(r, hi); at >= (int64_t)lo;
         at = open_at_or_below(r, (uint64_t)at)) {
        ms_sent_packet *p = packet_at(r, (uint64_t)at);
        if (p->state == LOST) {
            learn_spurious(r, (uint64_t)at, p);
        } else {
            if (reserve_outcome(r) || reserve_records(&r->acked, p->records))
                return MS_RECOVERY_MEMORY;
            hand_over(r, p, &r->acked);
            leave_flight(r, p);
            r->packets_acked++;
            if (r->ack_new++ == 0 || (uint64_t)at > r->ack_largest_new) {
                r->ack_largest_new = (uint64_t)at;
                r->ack_largest_sent_ns = p->sent_ns;
            }
            r->ack_eliciting |= p->flags & MS_ACK_ELICITING;
            if (p->flags & MS_IN_FLIGHT && p->sent_ns > r->recovery_ns &&
                (uint64_t)at >= r->path_begin && (uint64_t)at < r->limited_next)
                r->ack_bytes += p->bytes;
            tell_outcome(r, (uint64_t)at, p, MS_WAS_ACKED);
        }
        p->state = ACKED;
        p->skip = 1;
    }
    return MS_RECOVERY_OK;
}

int ms_recovery_ack_end(ms_recovery *r, uint64_t largest, int64_t ack_delay_ns, int64_t now_ns)
{
    if (largest >= r->next)
        return MS_RECOVERY_VIOLATION;
    if ((int64_t)largest > r->largest_acked)
        r->largest_acked = (int64_t)largest;
    const uint64_t fresh = r->ack_new, bytes = r->ack_bytes, events = r->congestion_events;
    const int sampled = fresh && r->ack_largest_new == largest && r->ack_eliciting &&
                        largest >= r->path_begin;
    r->ack_new = r->ack_bytes = 0;
    r->ack_eliciting = 0;
    if (fresh == 0) {
        trim(r, now_ns);
        return MS_RECOVERY_OK;
    }
    if (sampled) {
        ms_recovery_rtt_sample(r, now_ns - r->ack_largest_sent_ns, ack_delay_ns, now_ns);
        hystart_sample(r, r->latest_ns);
    }
    if (detect_losses(r, now_ns))
        return MS_RECOVERY_MEMORY;
    /* What is acknowledged beside a loss was sent before recovery began: it does not open the window
     * (RFC 9002, B.5). */
    on_acked(r, r->congestion_events == events ? bytes : 0, now_ns);
    hystart_round(r, largest);
    r->pto_count = 0;
    r->probes = 0;
    trim(r, now_ns);
    return MS_RECOVERY_OK;
}

/* -- timers ----------------------------------------------------------------------------------- */

int64_t ms_recovery_timer(const ms_recovery *r, int pto_allowed)
{
    if (r->loss_ns != MS_NEVER)
        return r->loss_ns;
    if (!pto_allowed || r->eliciting == 0)
        return MS_NEVER;
    const unsigned shift = r->pto_count < MAX_PTO_SHIFT ? r->pto_count : MAX_PTO_SHIFT;
    return r->last_eliciting_ns + (ms_recovery_pto(r) << shift);
}

int ms_recovery_on_timer(ms_recovery *r, int64_t now_ns, int pto_allowed)
{
    const int64_t due = ms_recovery_timer(r, pto_allowed);
    if (due == MS_NEVER || due > now_ns)
        return MS_TIMER_NOTHING;
    if (r->loss_ns != MS_NEVER) {
        if (detect_losses(r, now_ns))
            return MS_RECOVERY_MEMORY;
        trim(r, now_ns);
        return MS_TIMER_LOSS;
    }
    r->pto_count++;
    r->probes = PROBES;
    /* Each packet is repeated once by probes: then what repeated it is the oldest. */
    for (unsigned found = 0; found < PROBES && r->probe < r->next; r->probe++) {
        ms_sent_packet *p = packet_at(r, r->probe);
        if (p->state != OUT || !(p->flags & MS_ACK_ELICITING) || p->records == 0)
            continue;
        if (reserve_records(&r->lost, p->records))
            return MS_RECOVERY_MEMORY;
        hand_over(r, p, &r->lost);
        found++;
    }
    return MS_TIMER_PROBE;
}

int ms_recovery_drop_all(ms_recovery *r)
{
    for (uint64_t i = r->low; i < r->next; i++) {
        if (packet_at(r, i)->state != OUT)
            continue;
        if (give_up(r, i, MS_WAS_DROPPED))
            return MS_RECOVERY_MEMORY;
    }
    r->head = r->low = r->probe = r->next;
    r->record_head = r->record_open;
    r->loss_ns = MS_NEVER;
    r->pto_count = r->probes = 0;
    return MS_RECOVERY_OK;
}

uint64_t ms_recovery_audit(const ms_recovery *r)
{
    uint64_t bytes = 0;
    for (uint64_t i = r->head; i < r->next; i++) {
        const ms_sent_packet *p = packet_at(r, i);
        if (p->state == OUT && p->flags & MS_IN_FLIGHT)
            bytes += p->bytes;
    }
    return bytes;
}
