/* Anytime-valid bounds of means of bounded variables, and capital that bets against a null.
 *
 * All variables here are scaled to [0, 1] (confidence sequences) or to [-1, inf) (e-processes); the
 * binding scales. Nothing allocates but ms_betting_init.
 */
#ifndef MS_CONFIDENCE_H
#define MS_CONFIDENCE_H

#include <stddef.h>
#include <stdint.h>

#define MS_CONFIDENCE_OK 0
#define MS_CONFIDENCE_NOMEM 1

/* ---- e-process: a mixture of MS_BETS constant bets against E[x | past] <= 0 ---- */

#define MS_BETS 16

typedef struct {
    double capital[MS_BETS]; /* of each bet, times exp(log_scale) */
    double cash;             /* not yet staked, times exp(log_scale); 0 without restarts */
    double log_scale;
    double log_capital;
    double log_peak; /* largest log_capital so far, at least 0 */
    uint64_t n;
    int restarts;
} ms_eprocess;

void ms_eprocess_init(ms_eprocess *e, int restarts);
/* x >= -1 and finite. */
void ms_eprocess_update(ms_eprocess *e, double x);
/* Updates with x[0 .. count - 1], at most until log_capital >= stop; how many were used. */
size_t ms_eprocess_feed(ms_eprocess *e, const double *x, size_t count, double stop);
/* Bets and weights, MS_BETS of each. */
void ms_eprocess_bets(double *bets, double *weights);
/* Whether a state read from outside is one that bets can reach or at least is safe to go on from. */
int ms_eprocess_valid(const ms_eprocess *e);

/* ---- confidence sequences ---- */

/* Hedged capital of Waudby-Smith and Ramdas (2024) on a grid of means k / cells, one side of it:
 * the lower bound. The upper one is the same of 1 - x. */
typedef struct {
    size_t cells;
    size_t excluded;  /* means 0 .. excluded - 1 of the grid are refuted */
    double *mantissa; /* of the capital against each mean of the grid, cells + 1 */
    int32_t *exponent;
    double up, down; /* doublings and halvings that the mantissas may have gone through */
    double log_threshold;
} ms_betting;

/* level: probability of ever excluding a mean that is not above the true one. */
int ms_betting_init(ms_betting *b, size_t cells, double level);
void ms_betting_free(ms_betting *b);
/* bet: the predictable plug-in, before it is cut to what the mean allows. */
void ms_betting_update(ms_betting *b, double x, double bet);
double ms_betting_lower(const ms_betting *b);

/* Sums that all methods share. */
typedef struct {
    uint64_t n;
    double sum;
    double squares;  /* around the mean before each value (bernstein) */
    double squares1; /* around the mean after each value (betting's plug-in) */
} ms_sums;

void ms_sums_update(ms_sums *s, double x);
/* The plug-in bet for the value to come. log_level: log(1 / level of one side). */
double ms_sums_bet(const ms_sums *s, double log_level);
/* How far the sum may stand above the sum of conditional means: crossed with probability at most
 * `level`, ever. */
double ms_bernstein_margin(double squares, double level);
double ms_hoeffding_margin(double n, double level, int two_sided, double tuned_for);

#endif
