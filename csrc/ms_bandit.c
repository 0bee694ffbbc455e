#include "ms_bandit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ms_bandit_nodes.h"
#include "ms_bits.h"
#include "ms_random.h"

/* Rewards of an action between two exact factorisations where nothing is discounted. Rank-one updates
 * lose about a unit in the last place each. */
#define EXACT 256
/* What remains of a diagonal of S may be off by this share of it: 64 sums, rounded. */
#define ROUNDING 1e-14
/* The ridge may fade to this before it is brought back. */
#define FADED 0.9
/* Weights below count as nothing: before denormal numbers, whose arithmetic is slow. */
#define NOTHING 1e-200
/* Densities are integrated this many widths from their middles: 1e-9 of a normal one is beyond. */
#define REACH 6.0
/* A Beta posterior of more rewards is one of as many: its density keeps four digits. */
#define MOST_COUNTED 1e12
#define POINTS 9 /* ends of panels an action has at most */

static const ms_bandit_kernels *select_kernels(ms_simd_level level)
{
#if defined(MS_X86_64)
    if (level >= MS_SIMD_AVX512) return &ms_bandit_avx512;
    if (level >= MS_SIMD_AVX2) return &ms_bandit_avx2;
#elif defined(MS_AARCH64)
    if (level >= MS_SIMD_NEON) return &ms_bandit_neon;
#endif
    (void)level;
    return &ms_bandit_scalar;
}

/* ---- memory ---- */

static int linear(const ms_bandit *t) { return t->config.policy != MS_BANDIT_BETA; }

/* x to a power, the same bits everywhere. */
static double power(double x, uint64_t n)
{
    double product = 1.0;
    for (; n != 0 && product != 0; n >>= 1, x *= x)
        if (n & 1) product *= x;
    return product;
}

void ms_bandit_free(ms_bandit *t)
{
    free(t->matrices);
    free(t->slots);
    free(t->slot_features);
    free(t->table);
    free(t->log);
    t->matrices = NULL;
    t->slots = NULL;
    t->slot_features = NULL;
    t->table = NULL;
    t->log = NULL;
}

int ms_bandit_init(ms_bandit *t, const ms_bandit_config *config, ms_simd_level level)
{
    memset(t, 0, sizeof *t);
    t->config = *config;
    t->kernels = select_kernels(level);
    const size_t d = config->n_features, n = config->n_actions;
    const size_t p = t->p = d == 0 ? 8 : (d + 7) / 8 * 8;
    t->all = n == 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;
    t->powers[0] = 1.0;
    for (size_t k = 1; k <= MS_BANDIT_PERIOD; k++) t->powers[k] = t->powers[k - 1] * config->discount;
    t->period = 1;
    while (t->period < MS_BANDIT_PERIOD && t->powers[t->period + 1] >= FADED) t->period++;
    t->record_bytes = sizeof(ms_bandit_record) + d * sizeof(double);
    t->buckets = 4;
    while (t->buckets < 2 * config->max_pending) t->buckets *= 2;
    const size_t each = linear(t) ? 2 * p * p + 2 * p : 0;
    const size_t scratch = 2 * p + 2 * p * p;
    t->matrices = calloc(n * each + scratch, sizeof(double));
    t->slots = calloc(config->max_pending, sizeof *t->slots);
    t->slot_features = calloc(config->max_pending * (d + 1), sizeof(double));
    t->table = malloc(t->buckets * sizeof *t->table);
    t->log = calloc(config->max_log + 1, t->record_bytes);
    if (t->matrices == NULL || t->slots == NULL || t->slot_features == NULL || t->table == NULL ||
        t->log == NULL) {
        ms_bandit_free(t);
        return 0;
    }
    t->x = t->matrices + n * each;
    t->w = t->x + p;
    t->work = t->w + p;
    for (size_t a = 0; linear(t) && a < n; a++) {
        ms_bandit_action *action = t->actions + a;
        action->s = t->matrices + a * each;
        action->n = action->s + p * p;
        action->b = action->n + p * p;
        action->theta = action->b + p;
        for (size_t k = 0; k < d; k++) action->n[k * p + k] = 1.0 / config->ridge;
    }
    for (size_t k = 0; k < t->buckets; k++) t->table[k] = -1;
    for (size_t k = 0; k < config->max_pending; k++)
        t->slots[k].newer = k + 1 < config->max_pending ? (int32_t)k + 1 : -1;
    t->oldest = t->newest = -1;
    ms_random_seed(t->random, config->seed);
    return 1;
}

size_t ms_bandit_read(ms_bandit *t, const double *features)
{
    const size_t d = t->config.n_features;
    for (size_t k = 0; k < d; k++)
        if (!(fabs(features[k]) <= MS_BANDIT_LARGEST)) return k;
    for (size_t k = 0; k < d; k++) t->x[k] = features[k];
    return d;
}

/* ---- learning ---- */

/* Where features of 1e20 and of 1 leave nothing of a factorisation but rounding: the inverse of a
 * diagonal matrix that is larger than S + ridge I, by Gershgorin's circles. No width is too large. */
static void bound(ms_bandit *t, ms_bandit_action *action)
{
    const size_t d = t->config.n_features, p = t->p;
    memset(action->n, 0, p * p * sizeof(double));
    for (size_t k = 0; k < d; k++) {
        double sum = t->config.ridge;
        for (size_t j = 0; j < d; j++) sum += fabs(action->s[k * p + j]);
        action->n[k * p + k] = 1.0 / sum;
    }
}

/* N = (S + ridge I)^-1 and theta = N b. With S + ridge I = U'U and Y = U'^-1, N = Y'Y. What remains of
 * a diagonal when rows above were taken away is at least the ridge; rounding, which is relative to what
 * it was, may not make it less. */
static void factorise(ms_bandit *t, ms_bandit_action *action)
{
    const size_t d = t->config.n_features, p = t->p;
    const double ridge = t->config.ridge;
    double *u = t->work, *y = t->work + p * p, *n = action->n;
    int possible = 1;
    memcpy(u, action->s, p * p * sizeof *u);
    for (size_t k = 0; k < d; k++) u[k * p + k] += ridge;
    for (size_t k = 0; k < d; k++) {
        double *row = u + k * p;
        const double noise = fmax(ridge, ROUNDING * action->s[k * p + k]);
        const double pivot = row[k] > noise ? row[k] : noise, by = 1.0 / sqrt(pivot);
        for (size_t j = k; j < d; j++) row[j] *= by;
        row[k] = sqrt(pivot);
        for (size_t i = k + 1; i < d; i++) {
            double *restrict to = u + i * p;
            const double *restrict from = row;
            const double factor = row[i];
            for (size_t j = i; j < d; j++) to[j] -= factor * from[j];
        }
    }
    memset(y, 0, p * p * sizeof *y);
    for (size_t i = 0; i < d; i++) {
        double *restrict row = y + i * p;
        row[i] = 1.0;
        for (size_t k = 0; k < i; k++) {
            const double factor = u[k * p + i];
            const double *restrict from = y + k * p;
            for (size_t j = 0; j <= k; j++) row[j] -= factor * from[j];
        }
        const double by = 1.0 / u[i * p + i];
        for (size_t j = 0; j <= i; j++) row[j] *= by;
    }
    memset(n, 0, p * p * sizeof *n);
    for (size_t k = 0; k < d; k++) {
        const double *restrict from = y + k * p;
        for (size_t i = 0; i <= k; i++) {
            double *restrict row = n + i * p;
            const double factor = from[i];
            for (size_t j = 0; j <= i; j++) row[j] += factor * from[j];
        }
    }
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j <= i; j++) {
            n[j * p + i] = n[i * p + j];
            possible &= fabs(n[i * p + j]) <= 2.0 / ridge; /* no, of NaN */
        }
    if (!possible) bound(t, action);
    t->kernels->form(n, action->b, p, action->theta);
    action->since = 0;
}

static void scale(double *values, size_t n, double by)
{
    for (size_t k = 0; k < n; k++) {
        values[k] *= by;
        if (fabs(values[k]) < NOTHING) values[k] = 0;
    }
}

/* What time did to the weights of an action since its mark. */
static double faded(const ms_bandit *t, const ms_bandit_action *action)
{
    return t->config.discount == 1.0 ? 1.0 : t->powers[t->time - action->mark];
}

/* Bring an action up to date, and multiply all its weights. */
static void refresh(ms_bandit *t, ms_bandit_action *action, double factor)
{
    const double by = factor * faded(t, action);
    action->mark = t->time;
    if (action->learned == 0) return;
    if (linear(t)) {
        if (by != 1.0) {
            scale(action->s, t->p * t->p, by);
            scale(action->b, t->p, by);
        }
        factorise(t, action);
    } else {
        scale(&action->won, 1, by);
        scale(&action->lost, 1, by);
    }
}

/* When an action is brought up to date, in every period: in turn, so that no decision pays for all. */
static size_t turn_of(const ms_bandit *t, size_t a) { return a * t->period / t->config.n_actions; }

void ms_bandit_tick(ms_bandit *t)
{
    t->time++;
    if (t->config.discount == 1.0) return;
    const size_t phase = (size_t)t->time % t->period;
    for (size_t a = 0; a < t->config.n_actions; a++)
        if (turn_of(t, a) == phase) refresh(t, t->actions + a, 1.0);
}

void ms_bandit_soften(ms_bandit *t, double factor)
{
    for (size_t a = 0; a < t->config.n_actions; a++) refresh(t, t->actions + a, factor);
    for (int32_t k = t->oldest; k >= 0; k = t->slots[k].newer) t->slots[k].weight *= factor;
}

/* The features in t->x had this reward, in [0, 1], at `time`. */
static void learn(ms_bandit *t, ms_bandit_action *action, double y, double weight, int64_t time)
{
    const size_t p = t->p;
    if (t->config.discount != 1.0)
        weight = time <= action->mark
                     ? weight * power(t->config.discount, (uint64_t)(action->mark - time))
                     : weight / t->powers[time - action->mark];
    action->learned++;
    if (weight < NOTHING) return;
    if (!linear(t)) {
        action->won += weight * y;
        action->lost += weight * (1.0 - y);
        return;
    }
    double *c = t->work, *w = t->w, square = 0;
    const double variance = t->kernels->form(action->n, t->x, p, w), root = sqrt(weight);
    for (size_t k = 0; k < p; k++) {
        square += w[k] * w[k];
        action->b[k] += weight * y * t->x[k];
        c[k] = root * t->x[k];
    }
    t->kernels->rank_one(action->s, c, p, 1.0);
    /* x'N'Nx <= x'Nx / ridge, unless rounding has won. */
    if (!(variance >= 0 && square <= 1.000001 * variance / t->config.ridge) ||
        ++action->since >= EXACT) {
        factorise(t, action);
        return;
    }
    const double by = sqrt(weight / (1.0 + weight * variance));
    for (size_t k = 0; k < p; k++) c[k] = by * w[k];
    t->kernels->rank_one(action->n, c, p, -1.0);
    t->kernels->form(action->n, action->b, p, action->theta);
}

static double scaled(const ms_bandit *t, double reward)
{
    return (reward - t->config.low) / (t->config.high - t->config.low);
}

void ms_bandit_learn(ms_bandit *t, size_t action, double reward, double weight)
{
    learn(t, t->actions + action, scaled(t, reward), weight, t->time);
}

/* ---- what is expected ---- */

static void posterior(const ms_bandit *t, const ms_bandit_action *action, double *a, double *b)
{
    const double by = faded(t, action);
    *a = t->config.ridge + by * action->won;
    *b = t->config.ridge + by * action->lost;
    if (*a + *b > MOST_COUNTED) {
        const double share = MOST_COUNTED / (*a + *b);
        *a *= share;
        *b *= share;
    }
}

/* Mean and standard deviation of one action: of the linear model without alpha. */
static void expect(ms_bandit *t, const ms_bandit_action *action, double most, double *mean,
                   double *deviation)
{
    if (!linear(t)) {
        double a, b;
        posterior(t, action, &a, &b);
        *mean = a / (a + b);
        *deviation = sqrt(a * b / (a + b + 1.0)) / (a + b);
        return;
    }
    double variance = t->kernels->form(action->n, t->x, t->p, t->w) / faded(t, action);
    double sum[8] = {0};
    for (size_t c = 0; c < t->p; c += 8)
        for (size_t k = 0; k < 8; k++) sum[k] += t->x[c + k] * action->theta[c + k];
    variance = variance < most ? variance : most;
    *mean = ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
    *deviation = variance > 0 ? sqrt(variance) : 0;
}

static double most_variance(const ms_bandit *t)
{
    double square = 0;
    for (size_t k = 0; k < t->config.n_features; k++) square += t->x[k] * t->x[k];
    return square / t->config.ridge;
}

void ms_bandit_estimate(ms_bandit *t, double *means, double *widths)
{
    const double most = most_variance(t), by = linear(t) ? t->config.alpha : 1.0;
    for (size_t a = 0; a < t->config.n_actions; a++) {
        expect(t, t->actions + a, most, means + a, widths + a);
        widths[a] *= by;
    }
}

/* ---- which action is the best, when all that is known of each is a distribution ---- */

typedef struct ms_end {
    double at, width; /* of the density that it belongs to */
} ms_end;

/* Ends of the panels of one density, ascending: how many. Left and right of a Beta's logit the
 * density falls off exponentially, at the rates a and b. */
static size_t ends_of(double middle, double width, double a, double b, int beta, ms_end *ends)
{
    static const double parts[5] = {-REACH, -REACH / 2, 0.0, REACH / 2, REACH};
    size_t n = 0;
    if (beta) {
        ends[n++].at = middle - REACH * width - 21.0 / a;
        ends[n++].at = middle - REACH * width - 7.0 / a;
    }
    for (int k = 0; k < 5; k++) ends[n++].at = middle + parts[k] * width;
    if (beta) {
        ends[n++].at = middle + REACH * width + 7.0 / b;
        ends[n++].at = middle + REACH * width + 21.0 / b;
    }
    for (size_t k = 0; k < n; k++) ends[k].width = width;
    return n;
}

static double soft_of(double x) { return log1p(exp(-fabs(x))); }

static void panel(const ms_bandit *t, ms_bandit_field *field, double from, double to, double *mass)
{
    const double half = 0.5 * (to - from), middle = 0.5 * (to + from);
    _Alignas(64) double x[MS_NODES], soft[MS_NODES] = {0};
    for (int k = 0; k < MS_NODES; k++) {
        x[k] = middle + half * MS_NODE[k];
        if (field->beta) soft[k] = soft_of(x[k]);
    }
    t->kernels->panel(field, x, soft, half, mass);
}

/* Panels of every density with its mass above the end of another one's, and what each wins in them. */
static void integrate(const ms_bandit *t, ms_bandit_field *field, const double *middle,
                      const double *width, double *won)
{
    ms_end ends[POINTS * MS_BANDIT_ACTIONS + 1], own[POINTS];
    _Alignas(64) double mass[8 * MS_BANDIT_ACTIONS] = {0};
    double least = -INFINITY, top[MS_BANDIT_ACTIONS];
    size_t n = 0, kept = 0, index[MS_BANDIT_ACTIONS];
    for (size_t i = 0; i < field->n; i++) {
        const double a = field->first[i], b = field->second[i];
        const size_t each = ends_of(middle[i], width[i], a, b, field->beta, own);
        least = own[0].at > least ? own[0].at : least;
        top[i] = own[each - 1].at;
    }
    const size_t all = field->n;
    for (size_t i = 0; i < all; i++) {
        won[i] = 0;
        if (top[i] <= least) continue;
        const double a = field->first[i], b = field->second[i];
        const size_t each = ends_of(middle[i], width[i], a, b, field->beta, own);
        for (size_t k = 0; k < each; k++) {
            size_t to = n;
            if (own[k].at < least) continue;
            for (n++; to > 0 && ends[to - 1].at > own[k].at; to--) ends[to] = ends[to - 1];
            ends[to] = own[k];
        }
        index[kept] = i;
        field->first[kept] = field->first[i];
        field->second[kept] = field->second[i];
        field->peak[kept] = field->peak[i];
        field->scale[kept] = field->scale[i];
        field->rest[kept++] = 0;
    }
    field->n = kept;
    /* From the right; an end much nearer than the widths around is left out. */
    ms_end right = ends[n - 1];
    for (size_t k = n - 1; k-- > 0;) {
        const double narrow = ends[k].width < right.width ? ends[k].width : right.width;
        if (right.at - ends[k].at < narrow && k > 0) continue;
        if (right.at > ends[k].at) panel(t, field, ends[k].at, right.at, mass);
        right = ends[k];
    }
    for (size_t i = 0; i < kept; i++) {
        const double *m = mass + 8 * i;
        won[index[i]] = ((m[0] + m[1]) + (m[2] + m[3])) + ((m[4] + m[5]) + (m[6] + m[7]));
    }
}

/* The density of an action's Beta over the logit. Its mass is found by the same panels. */
static void set_beta(const ms_bandit *t, ms_bandit_action *action, ms_bandit_field *field, size_t i,
                     double *middle, double *width)
{
    double a, b;
    posterior(t, action, &a, &b);
    *middle = log(a / b);
    *width = sqrt((a + b) / a / b);
    field->first[i] = a;
    field->second[i] = b;
    field->peak[i] = *middle < 0 ? a * *middle : -b * *middle;
    field->peak[i] -= (a + b) * soft_of(*middle);
    if (action->scale[0] != a || action->scale[1] != b) {
        ms_bandit_field one = {.n = 1, .beta = 1};
        _Alignas(64) double mass[8] = {0};
        ms_end own[POINTS];
        one.first[0] = a;
        one.second[0] = b;
        one.peak[0] = field->peak[i];
        one.scale[0] = 1.0;
        const size_t n = ends_of(*middle, *width, a, b, 1, own);
        for (size_t k = n - 1; k > 0; k--) panel(t, &one, own[k - 1].at, own[k].at, mass);
        action->scale[0] = a;
        action->scale[1] = b;
        action->scale[2] = 1.0 / one.rest[0];
    }
    field->scale[i] = action->scale[2];
}

static void greedy(const double *score, size_t n, double *won)
{
    double best = score[0];
    size_t equal = 0;
    for (size_t i = 1; i < n; i++) best = score[i] > best ? score[i] : best;
    for (size_t i = 0; i < n; i++) equal += score[i] == best;
    for (size_t i = 0; i < n; i++) won[i] = score[i] == best ? 1.0 / (double)equal : 0.0;
}

/* Chances of each of n normals to be the largest; those without width stand where they are. */
static void normals(const ms_bandit *t, const double *mean, double *width, size_t n, double *won)
{
    ms_bandit_field field = {.n = n};
    double widest = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        widest = width[i] > widest ? width[i] : widest;
        size = fabs(mean[i]) > size ? fabs(mean[i]) : size;
    }
    /* Below, nodes of a panel could not be told apart. */
    const double least = 1e-12 * (widest + size);
    if (!(widest > least)) {
        greedy(mean, n, won);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        width[i] = width[i] > least ? width[i] : least;
        field.first[i] = mean[i];
        field.second[i] = 1.0 / width[i];
        field.scale[i] = 0.39894228040143267794 / width[i]; /* 1 / sqrt(2 pi) */
    }
    integrate(t, &field, mean, width, won);
}

void ms_bandit_chances(ms_bandit *t, uint64_t allowed, double *chances)
{
    const double most = most_variance(t), explore = t->config.explore;
    double mean[MS_BANDIT_ACTIONS] = {0}, width[MS_BANDIT_ACTIONS] = {0};
    double won[MS_BANDIT_ACTIONS], sum = 0;
    size_t n = 0, index[MS_BANDIT_ACTIONS];
    for (uint64_t rest = allowed; rest != 0; rest &= rest - 1) index[n++] = (size_t)ms_low_bit(rest);
    for (size_t a = 0; a < t->config.n_actions; a++) chances[a] = 0;
    if (n == 1) {
        won[0] = 1.0;
    } else if (!linear(t)) {
        ms_bandit_field field = {.n = n, .beta = 1};
        for (size_t i = 0; i < n; i++)
            set_beta(t, t->actions + index[i], &field, i, mean + i, width + i);
        integrate(t, &field, mean, width, won);
    } else {
        for (size_t i = 0; i < n; i++) {
            expect(t, t->actions + index[i], most, mean + i, width + i);
            width[i] *= t->config.alpha;
        }
        if (t->config.policy == MS_BANDIT_LINUCB) {
            for (size_t i = 0; i < n; i++) mean[i] += width[i];
            greedy(mean, n, won);
        } else {
            normals(t, mean, width, n, won);
        }
    }
    for (size_t i = 0; i < n; i++) sum += won[i];
    for (size_t i = 0; i < n; i++)
        chances[index[i]] = (1.0 - explore) * (won[i] / sum) + explore / (double)n;
}

/* ---- decisions and their rewards ---- */

static size_t bucket(const ms_bandit *t, int64_t ticket)
{
    /* Fibonacci hashing: tickets that follow each other stand apart. */
    return (size_t)((uint64_t)ticket * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (t->buckets - 1);
}

/* Where in the table a ticket stands, or the empty bucket where it would. */
static size_t find(const ms_bandit *t, int64_t ticket)
{
    size_t at = bucket(t, ticket);
    while (t->table[at] >= 0 && t->slots[t->table[at]].ticket != ticket)
        at = (at + 1) & (t->buckets - 1);
    return at;
}

static ms_bandit_record *record(const ms_bandit *t, int64_t ticket)
{
    if (ticket < 0 || ticket >= t->next_ticket || t->config.max_log == 0 ||
        t->next_ticket - ticket > (int64_t)t->config.max_log)
        return NULL;
    return (ms_bandit_record *)(t->log + (size_t)ticket % t->config.max_log * t->record_bytes);
}

/* Take the ticket at `at` in the table out of what is pending; its slot, whose contents remain. */
static ms_bandit_slot *take(ms_bandit *t, size_t at)
{
    const int32_t index = t->table[at];
    ms_bandit_slot *slot = t->slots + index;
    for (size_t next = at;;) {
        next = (next + 1) & (t->buckets - 1);
        if (t->table[next] < 0) break;
        /* Move back what would no longer be found: its own bucket is not in (at, next]. */
        const size_t home = bucket(t, t->slots[t->table[next]].ticket);
        if (((next - home) & (t->buckets - 1)) >= ((next - at) & (t->buckets - 1))) {
            t->table[at] = t->table[next];
            at = next;
        }
    }
    t->table[at] = -1;
    if (slot->older >= 0) t->slots[slot->older].newer = slot->newer;
    else t->oldest = slot->newer;
    if (slot->newer >= 0) t->slots[slot->newer].older = slot->older;
    else t->newest = slot->older;
    slot->newer = t->vacant;
    t->vacant = index;
    t->pending--;
    return slot;
}

static void censor_at(ms_bandit *t, size_t at)
{
    ms_bandit_record *row = record(t, take(t, at)->ticket);
    if (row != NULL) row->status = MS_BANDIT_CENSORED;
    t->censored++;
}

static void put(ms_bandit *t, int64_t ticket, int64_t time, double weight, int32_t action)
{
    const int32_t index = t->vacant;
    ms_bandit_slot *slot = t->slots + index;
    t->vacant = slot->newer;
    *slot = (ms_bandit_slot){ticket, time, weight, action, t->newest, -1};
    if (t->newest >= 0) t->slots[t->newest].newer = index;
    else t->oldest = index;
    t->newest = index;
    t->table[find(t, ticket)] = index;
    t->pending++;
    memcpy(t->slot_features + (size_t)index * t->config.n_features, t->x,
           t->config.n_features * sizeof(double));
}

void ms_bandit_decide(ms_bandit *t, uint64_t allowed, ms_bandit_choice *choice)
{
    double chances[MS_BANDIT_ACTIONS], left = ms_random_uniform(t->random);
    int32_t action = ms_low_bit(allowed);
    ms_bandit_chances(t, allowed, chances);
    for (uint64_t rest = allowed; rest != 0; rest &= rest - 1) {
        const int a = ms_low_bit(rest);
        if (!(chances[a] > 0)) continue;
        action = a; /* the last one, where rounding leaves a little */
        left -= chances[a];
        if (left < 0) break;
    }
    if (t->pending == (int64_t)t->config.max_pending) {
        censor_at(t, find(t, t->slots[t->oldest].ticket));
        t->crowded_out++;
    }
    choice->ticket = t->next_ticket++;
    choice->action = action;
    choice->propensity = chances[action];
    put(t, choice->ticket, t->time, 1.0, action);
    ms_bandit_record *row = record(t, choice->ticket);
    if (row != NULL) {
        *row = (ms_bandit_record){choice->ticket, allowed, choice->propensity, NAN, action,
                                  MS_BANDIT_PENDING};
        memcpy(row + 1, t->x, t->config.n_features * sizeof(double));
    }
    ms_bandit_tick(t);
}

int ms_bandit_feedback(ms_bandit *t, int64_t ticket, double reward)
{
    const size_t at = find(t, ticket), d = t->config.n_features;
    if (t->table[at] < 0) return MS_BANDIT_UNKNOWN;
    const size_t index = (size_t)t->table[at];
    const ms_bandit_slot *slot = take(t, at);
    ms_bandit_record *row = record(t, ticket);
    if (row != NULL) {
        row->reward = reward;
        row->status = MS_BANDIT_REWARDED;
    }
    memcpy(t->x, t->slot_features + index * d, d * sizeof(double));
    learn(t, t->actions + slot->action, scaled(t, reward), slot->weight, slot->time);
    t->rewarded++;
    return MS_BANDIT_OK;
}

int ms_bandit_censor(ms_bandit *t, int64_t ticket)
{
    const size_t at = find(t, ticket);
    if (t->table[at] < 0) return MS_BANDIT_UNKNOWN;
    censor_at(t, at);
    return MS_BANDIT_OK;
}

int64_t ms_bandit_expire(ms_bandit *t, int64_t keep)
{
    int64_t n = 0;
    while (t->oldest >= 0 && t->next_ticket - t->slots[t->oldest].ticket > keep) {
        censor_at(t, find(t, t->slots[t->oldest].ticket));
        n++;
    }
    return n;
}

/* ---- the log ---- */

size_t ms_bandit_logged(const ms_bandit *t)
{
    return t->next_ticket < (int64_t)t->config.max_log ? (size_t)t->next_ticket : t->config.max_log;
}

void ms_bandit_copy_log(const ms_bandit *t, char *out)
{
    const size_t n = ms_bandit_logged(t);
    for (size_t k = 0; k < n; k++, out += t->record_bytes)
        memcpy(out, record(t, t->next_ticket - (int64_t)(n - k)), t->record_bytes);
}

void ms_bandit_copy_pending(const ms_bandit *t, int64_t *out)
{
    for (int32_t k = t->oldest; k >= 0; k = t->slots[k].newer) *out++ = t->slots[k].ticket;
}

/* ---- snapshots: words of 64 bits, little-endian ---- */

typedef struct ms_writer {
    unsigned char *out;
    size_t n;
} ms_writer;

static void put_word(ms_writer *w, uint64_t word)
{
    if (w->out != NULL)
        for (int k = 0; k < 8; k++) w->out[w->n + (size_t)k] = (unsigned char)(word >> 8 * k);
    w->n += 8;
}

static void put_real(ms_writer *w, double x)
{
    uint64_t word;
    x += 0.0; /* one zero */
    memcpy(&word, &x, sizeof word);
    put_word(w, word);
}

static void put_reals(ms_writer *w, const double *x, size_t n)
{
    for (size_t k = 0; k < n; k++) put_real(w, x[k]);
}

static void put_triangle(ms_writer *w, const double *m, size_t d, size_t p)
{
    for (size_t i = 0; i < d; i++) put_reals(w, m + i * p, i + 1);
}

size_t ms_bandit_save(const ms_bandit *t, unsigned char *out)
{
    ms_writer w = {out, 0};
    const size_t d = t->config.n_features, n = ms_bandit_logged(t);
    put_word(&w, (uint64_t)t->time);
    put_word(&w, (uint64_t)t->next_ticket);
    put_word(&w, (uint64_t)t->rewarded);
    put_word(&w, (uint64_t)t->censored);
    put_word(&w, (uint64_t)t->crowded_out);
    for (int k = 0; k < 4; k++) put_word(&w, t->random[k]);
    for (size_t a = 0; a < t->config.n_actions; a++) {
        const ms_bandit_action *action = t->actions + a;
        put_word(&w, (uint64_t)action->mark);
        put_word(&w, action->learned);
        put_word(&w, action->since);
        if (linear(t)) {
            put_triangle(&w, action->s, d, t->p);
            put_triangle(&w, action->n, d, t->p);
            put_reals(&w, action->b, d);
        } else {
            put_real(&w, action->won);
            put_real(&w, action->lost);
        }
    }
    put_word(&w, (uint64_t)t->pending);
    for (int32_t k = t->oldest; k >= 0; k = t->slots[k].newer) {
        const ms_bandit_slot *slot = t->slots + k;
        put_word(&w, (uint64_t)slot->ticket);
        put_word(&w, (uint64_t)slot->time);
        put_real(&w, slot->weight);
        put_word(&w, (uint64_t)slot->action);
        put_reals(&w, t->slot_features + (size_t)k * d, d);
    }
    for (size_t k = 0; k < n; k++) {
        const ms_bandit_record *row = record(t, t->next_ticket - (int64_t)(n - k));
        put_word(&w, row->allowed);
        put_real(&w, row->propensity);
        put_real(&w, row->status == MS_BANDIT_REWARDED ? row->reward : 0.0);
        put_word(&w, (uint64_t)row->action << 2 | (uint64_t)row->status);
        put_reals(&w, (const double *)(row + 1), d);
    }
    return w.n;
}

typedef struct ms_reader {
    const unsigned char *in;
    size_t left;
    int bad;
} ms_reader;

static uint64_t get_word(ms_reader *r, uint64_t most)
{
    uint64_t word = 0;
    if (r->left < 8) {
        r->bad = 1;
        return 0;
    }
    for (int k = 0; k < 8; k++) word |= (uint64_t)r->in[k] << 8 * k;
    r->in += 8;
    r->left -= 8;
    if (word > most) {
        r->bad = 1;
        return 0;
    }
    return word;
}

/* A number in [least, most]; -0.0, which no state has, is none. */
static double get_real(ms_reader *r, double least, double most)
{
    const uint64_t word = get_word(r, UINT64_MAX);
    double x;
    memcpy(&x, &word, sizeof x);
    if (!(x >= least && x <= most) || (x == 0 && word != 0)) {
        r->bad = 1;
        return least;
    }
    return x;
}

static void get_reals(ms_reader *r, double *x, size_t n, double most)
{
    for (size_t k = 0; k < n; k++) x[k] = get_real(r, -most, most);
}

static void get_triangle(ms_reader *r, double *m, size_t d, size_t p, double diagonal, double most)
{
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j <= i; j++)
            m[i * p + j] = m[j * p + i] = get_real(r, i == j ? diagonal : -most, most);
}

int ms_bandit_load(ms_bandit *t, const unsigned char *data, size_t bytes)
{
    ms_reader r = {data, bytes, 0};
    const size_t d = t->config.n_features;
    /* A decision a nanosecond would take a century to get there. */
    const uint64_t most = UINT64_C(1) << 61;
    int64_t before = -1;
    t->time = (int64_t)get_word(&r, most);
    t->next_ticket = (int64_t)get_word(&r, (uint64_t)t->time);
    t->rewarded = (int64_t)get_word(&r, (uint64_t)t->next_ticket);
    t->censored = (int64_t)get_word(&r, (uint64_t)(t->next_ticket - t->rewarded));
    t->crowded_out = (int64_t)get_word(&r, (uint64_t)t->censored);
    for (int k = 0; k < 4; k++) t->random[k] = get_word(&r, UINT64_MAX);
    r.bad |= (t->random[0] | t->random[1] | t->random[2] | t->random[3]) == 0;
    for (size_t a = 0; a < t->config.n_actions; a++) {
        ms_bandit_action *action = t->actions + a;
        action->mark = (int64_t)get_word(&r, (uint64_t)t->time);
        /* An action is never behind its last turn: `powers` go no further than the next one. */
        const size_t since = ((size_t)t->time % t->period + t->period - turn_of(t, a)) % t->period;
        r.bad |= t->config.discount != 1.0 && t->time - action->mark > (int64_t)since;
        action->learned = get_word(&r, most);
        action->since = get_word(&r, action->learned < EXACT ? action->learned : EXACT - 1);
        if (linear(t)) {
            get_triangle(&r, action->s, d, t->p, 0.0, 1e120);
            /* Each rank-one update since takes away no more than 1 / ridge, of what is 0 perhaps. */
            const double limit = (2.0 + EXACT) / t->config.ridge;
            get_triangle(&r, action->n, d, t->p, -limit, limit);
            get_reals(&r, action->b, d, 1e70);
            t->kernels->form(action->n, action->b, t->p, action->theta);
        } else {
            action->won = get_real(&r, 0, 1e15);
            action->lost = get_real(&r, 0, 1e15);
        }
        if (r.bad) return MS_BANDIT_BAD;
    }
    const uint64_t pending = get_word(&r, t->config.max_pending);
    r.bad |= (int64_t)pending != t->next_ticket - t->rewarded - t->censored;
    for (uint64_t k = 0; k < pending && !r.bad; k++) {
        const int64_t ticket = (int64_t)get_word(&r, (uint64_t)t->next_ticket);
        const int64_t time = (int64_t)get_word(&r, (uint64_t)t->time);
        const double weight = get_real(&r, 0, 1);
        const uint64_t action = get_word(&r, t->config.n_actions - 1);
        get_reals(&r, t->x, d, MS_BANDIT_LARGEST);
        if (ticket <= before || ticket >= t->next_ticket || time >= t->time) r.bad = 1;
        before = ticket;
        if (!r.bad) put(t, ticket, time, weight, (int32_t)action);
    }
    const size_t n = ms_bandit_logged(t);
    for (size_t k = 0; k < n && !r.bad; k++) {
        const int64_t ticket = t->next_ticket - (int64_t)(n - k);
        ms_bandit_record *row = record(t, ticket);
        row->ticket = ticket;
        row->allowed = get_word(&r, t->all);
        row->propensity = get_real(&r, 0, 1);
        row->reward = get_real(&r, -1e100, 1e100);
        const uint64_t word = get_word(&r, (t->config.n_actions - 1) << 2 | MS_BANDIT_CENSORED);
        row->action = (int32_t)(word >> 2);
        row->status = (int32_t)(word & 3);
        get_reals(&r, (double *)(row + 1), d, MS_BANDIT_LARGEST);
        const int32_t found = t->table[find(t, ticket)];
        if (row->status > MS_BANDIT_CENSORED ||
            (found >= 0) != (row->status == MS_BANDIT_PENDING) ||
            (found >= 0 && t->slots[found].action != row->action) ||
            (row->allowed >> row->action & 1) == 0 || !(row->propensity > 0))
            r.bad = 1;
        if (row->status == MS_BANDIT_REWARDED)
            r.bad |= !(row->reward >= t->config.low && row->reward <= t->config.high);
        else {
            r.bad |= row->reward != 0;
            row->reward = NAN;
        }
    }
    return r.bad || r.left != 0 ? MS_BANDIT_BAD : MS_BANDIT_OK;
}
