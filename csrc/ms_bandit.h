/* A contextual bandit whose rewards come late: linear models of every action, or Beta posteriors.
 *
 * Of action a, all that was learned counts by its age: gamma^(now - then), in decisions. Kept are
 *
 *     S = sum of g x x',  b = sum of g y x,  g = gamma^(mark - then),
 *
 * relative to the time `mark` of the action, and N = (S + ridge I)^-1, theta = N b. Time passing
 * scales all weights alike, so it leaves theta and multiplies the variance x'Nx by
 * gamma^-(now - mark): until S and b are brought up to date, the ridge fades along with the weights.
 * Every `period` decisions, action by action in turn, they are, and N is formed afresh by Cholesky's
 * factorisation, which also takes away what rank-one updates (Sherman and Morrison 1950) lost to
 * rounding. A variance is never above x'x / ridge, what it is of an action that was never tried.
 *
 * One thread at a time. Nothing here calls Python. Every instruction set gives the same bits.
 */
#ifndef MS_BANDIT_H
#define MS_BANDIT_H

#include <stddef.h>
#include <stdint.h>

#include "ms_cpu.h"

#define MS_BANDIT_FEATURES 64 /* at most */
#define MS_BANDIT_ACTIONS 64
#define MS_BANDIT_PERIOD 64
/* Features above are refused: sums of squares stay finite whatever is learned. */
#define MS_BANDIT_LARGEST 1e50

enum { MS_BANDIT_LINUCB, MS_BANDIT_THOMPSON, MS_BANDIT_BETA };
enum { MS_BANDIT_PENDING, MS_BANDIT_REWARDED, MS_BANDIT_CENSORED };
enum { MS_BANDIT_OK, MS_BANDIT_UNKNOWN, MS_BANDIT_BAD };

/* Densities of the actions in the running, on one axis.
 * Normal: scale exp(-((x - first) second)^2 / 2). Beta, of the logit x: scale exp(l(x) - peak) with
 * l(x) = first min(x, 0) - second max(x, 0) - (first + second) log(1 + exp(-|x|)). */
typedef struct ms_bandit_field {
    size_t n;
    int beta;
    double first[MS_BANDIT_ACTIONS], second[MS_BANDIT_ACTIONS], peak[MS_BANDIT_ACTIONS];
    double scale[MS_BANDIT_ACTIONS];
    double rest[MS_BANDIT_ACTIONS]; /* mass above the panel at hand */
} ms_bandit_field;

typedef struct ms_bandit_kernels {
    /* w = m x for a symmetric matrix of p rows, p a multiple of 8; returns x'w. */
    double (*form)(const double *m, const double *x, size_t p, double *w);
    /* m += sign c c'. */
    void (*rank_one)(double *m, const double *c, size_t p, double sign);
    /* mass[8 i + k] += weight of node k times the chance that i is the largest and there. The
     * panel is `half` wide on either side; nodes x, soft[k] = log(1 + exp(-|x[k]|)) for Beta. */
    void (*panel)(ms_bandit_field *field, const double *x, const double *soft, double half,
                  double *mass);
} ms_bandit_kernels;

typedef struct ms_bandit_config {
    int policy;
    size_t n_features, n_actions;
    double alpha, ridge, discount, explore, low, high;
    size_t max_pending, max_log;
    uint64_t seed;
} ms_bandit_config;

typedef struct ms_bandit_action {
    double *s, *n, *b, *theta; /* (p, p), (p, p), (p,), (p,) */
    double won, lost;          /* of Beta, relative to `mark` as S is */
    double scale[3];           /* of Beta: two parameters, and what scales their density; no state */
    int64_t mark;
    uint64_t learned;          /* rewards */
    uint64_t since;            /* rewards since N was formed afresh */
} ms_bandit_action;

/* A decision without its reward, in a list by age and in a hash table. */
typedef struct ms_bandit_slot {
    int64_t ticket, time;
    double weight;       /* what softening left of it */
    int32_t action;
    int32_t older, newer; /* slots; -1: none. A free slot's `newer` is the next free one. */
} ms_bandit_slot;

/* A row of the log; features follow. The fields are those of the array that Python shows. */
typedef struct ms_bandit_record {
    int64_t ticket;
    uint64_t allowed;
    double propensity, reward;
    int32_t action, status;
} ms_bandit_record;

typedef struct ms_bandit {
    ms_bandit_config config;
    const ms_bandit_kernels *kernels;
    size_t p, period, record_bytes, buckets;
    uint64_t all; /* mask of all actions */
    int64_t time;         /* decisions, and rewards learned from another log */
    int64_t next_ticket;
    int64_t pending, rewarded, censored, crowded_out;
    uint64_t random[4];
    double powers[MS_BANDIT_PERIOD + 1]; /* of discount */
    ms_bandit_action actions[MS_BANDIT_ACTIONS];
    double *x, *w, *work; /* (p,), (p,), (2, p, p) */
    double *matrices;
    ms_bandit_slot *slots;
    double *slot_features; /* (max_pending, n_features) */
    int32_t *table;        /* (buckets,) slots; -1: empty */
    int32_t oldest, newest, vacant;
    char *log;
} ms_bandit;

typedef struct ms_bandit_choice {
    int64_t ticket;
    int32_t action;
    double propensity;
} ms_bandit_choice;

/* 0: no memory, and nothing to free. The configuration is in range. */
int ms_bandit_init(ms_bandit *t, const ms_bandit_config *config, ms_simd_level level);
void ms_bandit_free(ms_bandit *t);

/* Copy features; the index of the first that is NaN or too large, or n_features. */
size_t ms_bandit_read(ms_bandit *t, const double *features);

/* Of the features last read: estimates and half widths, in rewards scaled to [0, 1]; (n_actions,). */
void ms_bandit_estimate(ms_bandit *t, double *means, double *widths);
/* The chances that ms_bandit_decide would draw from; (n_actions,). `allowed` is not empty. */
void ms_bandit_chances(ms_bandit *t, uint64_t allowed, double *chances);
/* Choose, and remember the choice. */
void ms_bandit_decide(ms_bandit *t, uint64_t allowed, ms_bandit_choice *choice);

/* UNKNOWN: not pending. `reward` is in [low, high]. */
int ms_bandit_feedback(ms_bandit *t, int64_t ticket, double reward);
int ms_bandit_censor(ms_bandit *t, int64_t ticket);
/* Censor all but decisions among the newest `keep`; how many. */
int64_t ms_bandit_expire(ms_bandit *t, int64_t keep);
/* Learn from the features last read, as of a decision made now. */
void ms_bandit_learn(ms_bandit *t, size_t action, double reward, double weight);
/* Let a decision's time pass. */
void ms_bandit_tick(ms_bandit *t);
/* Multiply the weight of all that was learned, or will be from decisions already made. */
void ms_bandit_soften(ms_bandit *t, double factor);

/* Rows of the log, oldest first. */
size_t ms_bandit_logged(const ms_bandit *t);
void ms_bandit_copy_log(const ms_bandit *t, char *out);
/* Pending tickets, oldest first. */
void ms_bandit_copy_pending(const ms_bandit *t, int64_t *out);

/* State without configuration, little-endian; bytes written, or needed where `out` is NULL. */
size_t ms_bandit_save(const ms_bandit *t, unsigned char *out);
/* Into a new bandit of the same configuration. BAD: not such a state; then only free it. */
int ms_bandit_load(ms_bandit *t, const unsigned char *data, size_t bytes);

extern const ms_bandit_kernels ms_bandit_scalar;
#if defined(MS_X86_64)
extern const ms_bandit_kernels ms_bandit_avx2;
extern const ms_bandit_kernels ms_bandit_avx512;
#elif defined(MS_AARCH64)
extern const ms_bandit_kernels ms_bandit_neon;
#endif

#endif
