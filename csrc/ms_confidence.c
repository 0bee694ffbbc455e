#include "ms_confidence.h"

#include <math.h>
#include <stdlib.h>

/* ---- e-process ---- */

/* Bets fall by sqrt(2) from 0.98, weights as (j + 2)^-1.5: of the grids tried on paired losses (means
 * 0.02 to 0.3, deviations 0.1 to 0.3, also of rare -1 and 1) the one with the shortest stopping
 * times: a median of 26 at a mean of 0.2, a deviation of 0.3 and alpha of 0.05, where 16 equal
 * weights take 36. A bet of 1 could lose everything at once. */
static const double BETS[MS_BETS] = {
    0.98,
    0.69296464556281662,
    0.49,
    0.34648232278140831,
    0.245,
    0.17324116139070415,
    0.1225,
    0.086620580695352076,
    0.06125,
    0.043310290347676038,
    0.030625,
    0.021655145173838019,
    0.0153125,
    0.010827572586919010,
    0.00765625,
    0.0054137862934595048,
};

/* Scales are powers of two: nothing is rounded. */
#define SCALE 0x1p300
#define LOG_SCALE (300 * 0.69314718055994530942)
/* Less is as good as nothing beside a total of at least 1 / SCALE, and denormal numbers would cost
 * ten times the time. Dropping it errs on the safe side. */
#define NOTHING 0x1p-900

void ms_eprocess_bets(double *bets, double *weights)
{
    double sum = 0;
    for (int j = 0; j < MS_BETS; j++) {
        bets[j] = BETS[j];
        weights[j] = 1 / ((j + 2) * sqrt((double)(j + 2)));
        sum += weights[j];
    }
    for (int j = 0; j < MS_BETS; j++)
        weights[j] /= sum;
}

void ms_eprocess_init(ms_eprocess *e, int restarts)
{
    double bets[MS_BETS];
    ms_eprocess_bets(bets, e->capital);
    if (restarts)
        for (int j = 0; j < MS_BETS; j++)
            e->capital[j] /= 2;
    e->cash = restarts ? 0.5 : 0;
    e->log_scale = e->log_capital = e->log_peak = 0;
    e->n = 0;
    e->restarts = restarts != 0;
}

void ms_eprocess_update(ms_eprocess *e, double x)
{
    double total = 0;
    e->n++;
    /* So that products stay finite. What is cut off only lowers the capital: the safe side. */
    x = fmin(x, SCALE);
    if (e->restarts) {
        /* Of half the first capital, 1 / sqrt(t) - 1 / sqrt(t + 1) is staked anew at step t: all of it
         * in the end. What is staked late has lost nothing before. 1 / (t (t + 1)) would leave too
         * little: it takes a fifth more values to find a change at t = 1000. */
        double weights[MS_BETS], bets[MS_BETS];
        double stake = e->cash * (1 - sqrt((double)e->n / (double)(e->n + 1)));
        ms_eprocess_bets(bets, weights);
        for (int j = 0; j < MS_BETS; j++)
            e->capital[j] += stake * weights[j];
        e->cash -= stake;
        total = e->cash;
    }
    for (int j = 0; j < MS_BETS; j++) {
        double capital = e->capital[j] * (1 + BETS[j] * x);
        e->capital[j] = capital > NOTHING ? capital : 0;
        total += e->capital[j];
    }
    while (total > SCALE || total < 1 / SCALE) {
        double by = total > SCALE ? 1 / SCALE : SCALE;
        for (int j = 0; j < MS_BETS; j++)
            e->capital[j] *= by;
        e->cash *= by;
        total *= by;
        e->log_scale += by < 1 ? LOG_SCALE : -LOG_SCALE;
    }
    e->log_capital = log(total) + e->log_scale;
    if (e->log_capital > e->log_peak)
        e->log_peak = e->log_capital;
}

size_t ms_eprocess_feed(ms_eprocess *e, const double *x, size_t count, double stop)
{
    size_t i = 0;
    while (i < count) {
        ms_eprocess_update(e, x[i++]);
        if (e->log_capital >= stop)
            break;
    }
    return i;
}

int ms_eprocess_valid(const ms_eprocess *e)
{
    double total = e->cash;
    if (!(e->cash >= 0 && e->cash <= 2 * SCALE) || (e->restarts != 0 && e->restarts != 1))
        return 0;
    if (!e->restarts && e->cash != 0)
        return 0;
    for (int j = 0; j < MS_BETS; j++) {
        if (!(e->capital[j] >= 0 && e->capital[j] <= 2 * SCALE))
            return 0;
        total += e->capital[j];
    }
    /* An update leaves 1 / SCALE at least: of much less, the next one could leave nothing. */
    if (!(total >= 0.5 / SCALE) || !isfinite(e->log_scale) || !isfinite(e->log_capital))
        return 0;
    if (!(e->log_peak >= e->log_capital && e->log_peak >= 0 && isfinite(e->log_peak)))
        return 0;
    /* What is shown is what the bets hold. */
    return fabs(log(total) + e->log_scale - e->log_capital) <= 1e-9 * (1 + fabs(e->log_capital));
}

/* ---- betting ---- */

/* Half of what a mean allows may be staked: the paper's truncation c. */
#define CUT 0.5
/* Doublings after which mantissas and exponents are parted again. */
#define PART 400

int ms_betting_init(ms_betting *b, size_t cells, double level)
{
    b->cells = cells;
    b->excluded = 0;
    b->up = b->down = 0;
    b->log_threshold = log(1 / level);
    b->mantissa = malloc((cells + 1) * sizeof(double));
    b->exponent = calloc(cells + 1, sizeof(int32_t));
    if (b->mantissa == NULL || b->exponent == NULL) {
        ms_betting_free(b);
        return MS_CONFIDENCE_NOMEM;
    }
    for (size_t k = 0; k <= cells; k++)
        b->mantissa[k] = 1;
    return MS_CONFIDENCE_OK;
}

void ms_betting_free(ms_betting *b)
{
    free(b->mantissa);
    free(b->exponent);
    b->mantissa = NULL;
    b->exponent = NULL;
}

void ms_betting_update(ms_betting *b, double x, double bet)
{
    /* In ints: compilers turn those into doubles several at a time. */
    const int cells = (int)b->cells;
    const double step = 1 / (double)cells, rise = CUT * x * cells;
    /* Up to this mean the bet is whole, above it is cut to CUT / m. */
    const int whole = (int)fmin(floor(CUT / bet * cells), cells);
    double *mantissa = b->mantissa;
    int k = (int)b->excluded;
    for (; k <= whole; k++)
        mantissa[k] *= 1 + bet * (x - k * step);
    for (; k <= cells; k++)
        mantissa[k] *= 1 - CUT + rise / k;
    /* Bounds of log2 of the factors: at most 1 + bet, at least 1 - min(bet, CUT). */
    b->up += 1.4427 * bet;
    b->down += 2 * fmin(bet, CUT);
    if (b->up > PART || b->down > PART) {
        for (k = (int)b->excluded; k <= cells; k++) {
            int exponent;
            mantissa[k] = frexp(mantissa[k], &exponent);
            b->exponent[k] += exponent;
        }
        b->up = b->down = 0;
    }
    /* The capital falls as the mean grows: what is refuted is an interval from 0. Running
     * intersection: what was refuted once stays so. */
    while (b->excluded <= b->cells
           && log(mantissa[b->excluded]) + b->exponent[b->excluded] * 0.69314718055994530942
                  >= b->log_threshold)
        b->excluded++;
}

double ms_betting_lower(const ms_betting *b)
{
    /* Outwards: the last mean that is refuted, not the first that is not. */
    return b->excluded > 1 ? (double)(b->excluded - 1) / (double)b->cells : 0;
}

/* ---- sums and margins ---- */

void ms_sums_update(ms_sums *s, double x)
{
    double before = (0.5 + s->sum) / (double)(s->n + 1), after;
    s->n++;
    s->sum += x;
    after = (0.5 + s->sum) / (double)(s->n + 1);
    s->squares += (x - before) * (x - before);
    s->squares1 += (x - after) * (x - after);
}

double ms_sums_bet(const ms_sums *s, double log_level)
{
    double variance = (0.25 + s->squares1) / (double)(s->n + 1);
    double t = (double)(s->n + 1);
    return sqrt(2 * log_level / (variance * t * log(t + 1)));
}

/* Rates of the mixture: 0.9 down to 1e-6 by sqrt(2), weights as for the bets: enough for sums of
 * squares of 1e12. */
#define RATES 40

double ms_bernstein_margin(double squares, double level)
{
    double rate[RATES], cost[RATES], log_weight[RATES], sum = 0, margin = INFINITY;
    const double wanted = log(1 / level);
    for (int j = 0; j < RATES; j++) {
        rate[j] = 0.9 * exp2(-0.5 * j);
        log_weight[j] = -1.5 * log(j + 2.0);
        sum += exp(log_weight[j]);
        cost[j] = (-log1p(-rate[j]) - rate[j]) * squares;
    }
    for (int j = 0; j < RATES; j++) {
        log_weight[j] -= log(sum);
        margin = fmin(margin, (wanted - log_weight[j] + cost[j]) / rate[j]);
    }
    /* log sum_j w_j exp(rate_j s - cost_j) is convex and grows: from above, Newton's steps end at the
     * root without passing it, so that stopping early errs on the safe side. */
    for (int round = 0; round < 40; round++) {
        double most = -INFINITY, total = 0, slope = 0, excess, next;
        for (int j = 0; j < RATES; j++)
            most = fmax(most, log_weight[j] + rate[j] * margin - cost[j]);
        for (int j = 0; j < RATES; j++) {
            double part = exp(log_weight[j] + rate[j] * margin - cost[j] - most);
            total += part;
            slope += rate[j] * part;
        }
        excess = most + log(total) - wanted;
        next = margin - excess / (slope / total);
        if (!(excess > 1e-12) || !(next < margin))
            break;
        margin = next;
    }
    return margin;
}

double ms_hoeffding_margin(double n, double level, int two_sided, double tuned_for)
{
    /* Variables in [0, 1] are sub-Gaussian with variance 1/4. Howard et al. (2021), propositions 5
     * and 6; rho as in their section 3.5, so that the bound is tightest near n = tuned_for. */
    const double v = n / 4, best = tuned_for / 4;
    double a = log(1 / level);
    double rho = best / (2 * a + log(1 + 2 * a));
    if (two_sided)
        return sqrt((v + rho) * (log((v + rho) / rho) + 2 * a));
    return sqrt(2 * (v + rho) * log(1 + sqrt((v + rho) / rho) / (2 * level)));
}
