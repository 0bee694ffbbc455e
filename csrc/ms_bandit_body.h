/* Kernels of ms_bandit.h in the operations of an ms_lanes_*.h, eight numbers at a time; included once
 * for each. */
#include <string.h>

#include "ms_bandit.h"
#include "ms_bandit_nodes.h"

#define PARTS (MS_NODES / MS_LANES) /* vectors that hold eight numbers */
#define EACH for (int v = 0; v < PARTS; v++)
#define AT(p) ((p) + v * MS_LANES)

MS_LANES_TARGET static double total(const double *x)
{
    return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
}

MS_LANES_TARGET static double form(const double *m, const double *x, size_t p, double *w)
{
    ms_vec sum[PARTS];
    double part[MS_NODES];
    EACH sum[v] = V_SET1(0.0);
    for (size_t c = 0; c < p; c += 8) {
        ms_vec even[PARTS], odd[PARTS];
        EACH even[v] = odd[v] = V_SET1(0.0);
        for (size_t r = 0; r < p; r += 2) {
            const double *row = m + r * p + c, *next = row + p;
            const ms_vec a = V_SET1(x[r]), b = V_SET1(x[r + 1]);
            EACH even[v] = V_ADD(even[v], V_MUL(V_LOAD(AT(row)), a));
            EACH odd[v] = V_ADD(odd[v], V_MUL(V_LOAD(AT(next)), b));
        }
        EACH {
            even[v] = V_ADD(even[v], odd[v]);
            V_STORE(AT(w + c), even[v]);
            sum[v] = V_ADD(sum[v], V_MUL(even[v], V_LOAD(AT(x + c))));
        }
    }
    EACH V_STORE(AT(part), sum[v]);
    return total(part);
}

MS_LANES_TARGET static void rank_one(double *m, const double *c, size_t p, double sign)
{
    for (size_t r = 0; r < p; r++) {
        const ms_vec by = V_SET1(sign * c[r]);
        double *row = m + r * p;
        for (size_t k = 0; k < p; k += MS_LANES)
            V_STORE(row + k, V_ADD(V_LOAD(row + k), V_MUL(by, V_LOAD(c + k))));
    }
}

/* e becomes exp(e) for e <= 0: to the nearest multiple of log 2 by adding 3 2^51, whose last bits are
 * then that multiple, and Taylor's polynomial, in pairs as Estrin does so that few operations wait for
 * each other; relative error below 1e-15. Below -700, as at -700. */
MS_LANES_TARGET static void exp_eight(ms_vec *e)
{
    static const double taylor[12] = {
        1.0,       1.0,        0.5,         1.0 / 6,      1.0 / 24,      1.0 / 120,
        1.0 / 720, 1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800};
    const ms_vec shift = V_SET1(6755399441055744.0); /* 3 2^51 */
    _Alignas(64) double shifted[MS_NODES], power[MS_NODES];
    _Alignas(64) uint64_t bits[MS_NODES], value[MS_NODES];
    EACH {
        const ms_vec y = V_MAX(e[v], V_SET1(-700.0));
        const ms_vec t = V_ADD(V_MUL(y, V_SET1(1.4426950408889634)), shift), n = V_SUB(t, shift);
        V_STORE(AT(shifted), t);
        /* log 2 in two parts, the first with zeros at its end. */
        const ms_vec r = V_SUB(V_SUB(y, V_MUL(n, V_SET1(0.693147180369123816490))),
                               V_MUL(n, V_SET1(1.90821492927058770002e-10)));
        const ms_vec r2 = V_MUL(r, r), r4 = V_MUL(r2, r2), r8 = V_MUL(r4, r4);
        ms_vec pair[6], four[3];
        for (int k = 0; k < 6; k++)
            pair[k] = V_ADD(V_SET1(taylor[2 * k]), V_MUL(V_SET1(taylor[2 * k + 1]), r));
        for (int k = 0; k < 3; k++) four[k] = V_ADD(pair[2 * k], V_MUL(pair[2 * k + 1], r2));
        const ms_vec q = V_ADD(V_ADD(four[0], V_MUL(four[1], r4)), V_MUL(four[2], r8));
        V_STORE(AT(power), q);
    }
    memcpy(bits, shifted, sizeof bits);
    memcpy(value, power, sizeof value);
    for (int k = 0; k < MS_NODES; k++) value[k] += bits[k] << 52;
    memcpy(power, value, sizeof power);
    EACH e[v] = V_LOAD(AT(power));
}

MS_LANES_TARGET static void panel(ms_bandit_field *field, const double *x, const double *soft,
                                  double half, double *mass)
{
    /* Whole cache lines: a vector over the end of one is written and read back several times slower. */
    _Alignas(64) struct {
        double density[MS_NODES], below[MS_NODES];
        double others[MS_NODES]; /* product of `below` of the actions before */
    } row[MS_BANDIT_ACTIONS];
    ms_vec product[PARTS];
    EACH product[v] = V_SET1(1.0);
    for (size_t i = 0; i < field->n; i++) {
        const ms_vec first = V_SET1(field->first[i]), second = V_SET1(field->second[i]);
        const ms_vec scale = V_SET1(field->scale[i] * half);
        ms_vec f[PARTS], rest[PARTS], more[PARTS];
        if (field->beta) {
            const ms_vec peak = V_SET1(field->peak[i]), none = V_SET1(0.0);
            const ms_vec both = V_SET1(field->first[i] + field->second[i]);
            EACH {
                const ms_vec at = V_LOAD(AT(x));
                const ms_vec left = V_MUL(first, V_MIN(at, none));
                const ms_vec right = V_MUL(second, V_MAX(at, none));
                const ms_vec e = V_SUB(V_SUB(left, right), V_MUL(both, V_LOAD(AT(soft))));
                f[v] = V_MIN(V_SUB(e, peak), none);
            }
        } else {
            EACH {
                const ms_vec z = V_MUL(V_SUB(V_LOAD(AT(x)), first), second);
                f[v] = V_MUL(V_SET1(-0.5), V_MUL(z, z));
            }
        }
        exp_eight(f);
        EACH {
            f[v] = V_MUL(f[v], scale);
            V_STORE(AT(row[i].density), f[v]);
            rest[v] = V_SET1(field->rest[i]);
            more[v] = V_SET1(0.0);
        }
        for (int l = 0; l < MS_NODES; l += 2) {
            const ms_vec even = V_SET1(row[i].density[l]), odd = V_SET1(row[i].density[l + 1]);
            EACH rest[v] = V_ADD(rest[v], V_MUL(even, V_LOAD(AT(MS_REST[l]))));
            EACH more[v] = V_ADD(more[v], V_MUL(odd, V_LOAD(AT(MS_REST[l + 1]))));
        }
        EACH {
            const ms_vec sum = V_ADD(rest[v], more[v]);
            const ms_vec q = V_MAX(V_SUB(V_SET1(1.0), sum), V_SET1(0.0));
            V_STORE(AT(row[i].density), V_MUL(f[v], V_LOAD(AT(MS_WEIGHT))));
            V_STORE(AT(row[i].below), q);
            V_STORE(AT(row[i].others), product[v]);
            product[v] = V_MUL(product[v], q);
        }
        field->rest[i] += total(row[i].density);
    }
    EACH product[v] = V_SET1(1.0);
    for (size_t i = field->n; i-- > 0;) {
        EACH {
            const ms_vec rest = V_MUL(V_LOAD(AT(row[i].others)), product[v]);
            const ms_vec won = V_MUL(V_LOAD(AT(row[i].density)), rest);
            V_STORE(AT(mass + 8 * i), V_ADD(V_LOAD(AT(mass + 8 * i)), won));
            product[v] = V_MUL(product[v], V_LOAD(AT(row[i].below)));
        }
    }
}

const ms_bandit_kernels MS_LANES_NAME(ms_bandit) = {form, rank_one, panel};
