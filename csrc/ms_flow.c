#include "ms_flow.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Steps between looks at whether a state is still finite. */
#define CHUNK ((int64_t)512)

size_t ms_custom_doubles(int dim, long lanes) {
    const size_t n = (size_t)dim;
    return 6 * n + n * n + 5 * n * (size_t)lanes + 2 * n;
}

static size_t padded(size_t doubles) { return (doubles + 7) & ~(size_t)7; }

static size_t rows_of(const ms_flow *flow) {
    return (size_t)(flow->custom || flow->native ? flow->inputs : flow->registers);
}

size_t ms_flow_doubles(const ms_flow *flow, long lanes) {
    const size_t width = (size_t)lanes;
    /* registers, a copy of the state, room for results, flags, and R of the columns. */
    return padded(rows_of(flow) * width) + 2 * padded((size_t)flow->inputs * width) +
           padded(width) + padded(width * width);
}

typedef struct parts {
    double *regs, *saved, *spare, *bad, *r;
} parts;

static parts split(const ms_flow *flow, long lanes, double *work) {
    const size_t width = (size_t)lanes, state = padded((size_t)flow->inputs * width);
    parts p;
    p.regs = work;
    p.saved = p.regs + padded(rows_of(flow) * width);
    p.spare = p.saved + state;
    p.bad = p.spare + state;
    p.r = p.bad + padded(width);
    return p;
}

static void fill(double *row, long lanes, double value) {
    for (long l = 0; l < lanes; l++) row[l] = value;
}

static void load(const ms_flow *flow, const parts *p, const double *state, long lanes) {
    memcpy(p->regs, state, sizeof(double) * (size_t)flow->inputs * (size_t)lanes);
    if (!flow->custom && !flow->native)
        for (long i = 0; i < flow->n_c; i++)
            fill(p->regs + (flow->inputs + 1 + i) * lanes, lanes, flow->c[i]);
    fill(p->bad, lanes, 0);
}

/* --- the caller's functions ------------------------------------------------------------------ */

static int differences(const ms_custom *s, double t, double *x, double *j, double *up,
                       double *down) {
    /* The best step for a central difference: the cube root of the rounding error. */
    const double cube = 6.0554544523933429e-06;
    for (int i = 0; i < s->dim; i++) {
        const double kept = x[i], size = fabs(kept) > 1 ? fabs(kept) : 1;
        const volatile double high = kept + cube * size, low = kept - cube * size;
        x[i] = high;
        if (s->rhs(s->context, t, x, up)) return 1;
        x[i] = low;
        if (s->rhs(s->context, t, x, down)) return 1;
        x[i] = kept;
        for (int row = 0; row < s->dim; row++) j[row * s->dim + i] = (up[row] - down[row]) / (high - low);
    }
    return 0;
}

static void product(const double *j, const double *v, double *out, int dim, long lanes) {
    for (int i = 0; i < dim; i++) {
        double *row = out + (long)i * lanes;
        fill(row, lanes, 0);
        for (int m = 0; m < dim; m++) {
            const double a = j[i * dim + m];
            const double *from = v + (long)m * lanes;
            for (long l = 0; l < lanes; l++) row[l] += a * from[l];
        }
    }
}

/* One step of a system given by functions. All lanes are columns of the one trajectory. */
static int custom_step(const ms_flow *flow, double *state, long lanes, double t) {
    const ms_custom *s = flow->custom;
    const int dim = s->dim;
    const long wide = (long)dim * lanes;
    double *x = s->work, *at = x + dim, *k = at + dim, *sum = k + dim, *up = sum + dim,
           *down = up + dim, *j = down + dim, *v = j + (size_t)dim * (size_t)dim, *kv = v + wide,
           *sum_v = kv + wide;
    double *columns = state + wide;
    const double h = flow->dt;
    for (int i = 0; i < dim; i++) x[i] = state[i * lanes];
    const int stages = flow->is_map ? 1 : 4;
    static const double ahead[4] = {0, 0.5, 0.5, 1}, weight[4] = {1, 2, 2, 1};
    memset(sum, 0, sizeof(double) * (size_t)dim);
    memset(sum_v, 0, sizeof(double) * (size_t)wide);
    for (int stage = 0; stage < stages; stage++) {
        const double a = ahead[stage] * h;
        for (int i = 0; i < dim; i++) at[i] = stage ? x[i] + a * k[i] : x[i];
        if (flow->tangents)
            for (long i = 0; i < wide; i++) v[i] = stage ? columns[i] + a * kv[i] : columns[i];
        if (s->rhs(s->context, t + a, at, k)) return 1;
        if (flow->tangents) {
            if (s->jacobian ? s->jacobian(s->context, t + a, at, j)
                            : differences(s, t + a, at, j, up, down))
                return 1;
            product(j, v, kv, dim, lanes);
        }
        for (int i = 0; i < dim; i++) sum[i] += weight[stage] * k[i];
        if (flow->tangents)
            for (long i = 0; i < wide; i++) sum_v[i] += weight[stage] * kv[i];
    }
    for (int i = 0; i < dim; i++) fill(state + i * lanes, lanes, flow->is_map ? k[i] : x[i] + h / 6 * sum[i]);
    if (flow->tangents) {
        if (flow->is_map)
            memcpy(columns, kv, sizeof(double) * (size_t)wide);
        else
            for (long i = 0; i < wide; i++) columns[i] += h / 6 * sum_v[i];
    }
    return 0;
}

/* --- steps ------------------------------------------------------------------------------------ */

static int steps_of(const ms_flow *flow, const parts *p, long lanes, int64_t first, int64_t steps) {
    double *regs = p->regs;
    if (flow->native && lanes == 1 && flow->path) {
        /* The loops of vectors would store whole ones, over the end of a single column. */
        p->bad[0] += flow->path(regs, flow->c, flow->t0, flow->dt, first, 1, steps, p->spare);
        return 0;
    }
    if (flow->native) {
        flow->native(regs, lanes, flow->c, flow->t0, flow->dt, first, steps, p->bad);
        return 0;
    }
    for (int64_t step = first; step < first + steps; step++) {
        const double t = flow->t0 + (double)step * flow->dt;
        if (flow->custom) {
            if (custom_step(flow, regs, lanes, t)) return 1;
        } else {
            if (flow->uses_time) fill(regs + (long)flow->inputs * lanes, lanes, t);
            flow->run(flow->code, flow->count, regs, lanes, flow->columns);
            if (flow->copies) {
                const size_t row = sizeof(double) * (size_t)lanes;
                for (int i = 0; i < flow->inputs; i++)
                    memcpy(p->spare + i * lanes, regs + flow->outputs[i] * lanes, row);
                memcpy(regs, p->spare, row * (size_t)flow->inputs);
            }
        }
        /* A flow adds to its state, so what is not finite stays so; a map may come back. */
        if (flow->is_map)
            for (int i = 0; i < flow->dim; i++)
                for (long l = 0; l < lanes; l++) p->bad[l] += regs[i * lanes + l] - regs[i * lanes + l];
    }
    return 0;
}

static long find_bad(const ms_flow *flow, const parts *p, long lanes) {
    for (long l = 0; l < lanes; l++) {
        double sum = p->bad[l];
        for (int i = 0; i < flow->dim; i++) sum += p->regs[i * lanes + l] - p->regs[i * lanes + l];
        if (!(sum == 0)) return l;
    }
    return -1;
}

/* One chunk from what p->regs holds. On a result that is not finite, go back and find the step. */
static int64_t chunk(const ms_flow *flow, const parts *p, long lanes, int64_t first, int64_t steps,
                     int keep_bad, long *lane) {
    const size_t bytes = sizeof(double) * (size_t)flow->inputs * (size_t)lanes;
    memcpy(p->saved, p->regs, bytes);
    if (steps_of(flow, p, lanes, first, steps)) return MS_FLOW_STOPPED;
    if (keep_bad || find_bad(flow, p, lanes) < 0) return MS_FLOW_DONE;
    memcpy(p->regs, p->saved, bytes);
    fill(p->bad, lanes, 0);
    for (int64_t step = first; step < first + steps; step++) {
        memcpy(p->saved, p->regs, bytes);
        if (steps_of(flow, p, lanes, step, 1)) return MS_FLOW_STOPPED;
        const long found = find_bad(flow, p, lanes);
        if (found >= 0) {
            memcpy(p->regs, p->saved, bytes);
            *lane = found;
            return step + 1;
        }
    }
    return MS_FLOW_DONE;
}

/* Work units of one step, for ms_poll. */
static uint64_t price(const ms_flow *flow, long lanes) {
    if (flow->custom) return MS_POLL_CELLS / 64;
    return (uint64_t)(flow->count + 8) * (uint64_t)lanes;
}

static int64_t advance(const ms_flow *flow, const parts *p, long lanes, int64_t first, int64_t steps,
                       int keep_bad, long *lane, ms_poll *poll) {
    for (int64_t done = 0; done < steps;) {
        const int64_t part = steps - done < CHUNK ? steps - done : CHUNK;
        const int64_t status = chunk(flow, p, lanes, first + done, part, keep_bad, lane);
        if (status != MS_FLOW_DONE) return status;
        done += part;
        if (ms_poll_spend(poll, (uint64_t)part * price(flow, lanes))) return MS_FLOW_STOPPED;
    }
    return MS_FLOW_DONE;
}

int64_t ms_flow_advance(const ms_flow *flow, double *state, long lanes, int64_t first,
                        int64_t steps, int keep_bad, long *lane, double *work, ms_poll *poll) {
    const parts p = split(flow, lanes, work);
    load(flow, &p, state, lanes);
    const int64_t status = advance(flow, &p, lanes, first, steps, keep_bad, lane, poll);
    memcpy(state, p.regs, sizeof(double) * (size_t)flow->inputs * (size_t)lanes);
    return status;
}

int64_t ms_flow_path(const ms_flow *flow, double *state, int64_t transient, int64_t rows,
                     int64_t every, double *out, double *work, ms_poll *poll) {
    const size_t dim = (size_t)flow->dim, bytes = sizeof(double) * dim;
    long lane;
    int64_t status = ms_flow_advance(flow, state, 1, 0, transient, 0, &lane, work, poll);
    if (status != MS_FLOW_DONE) return status;
    memcpy(out, state, bytes);
    const parts p = split(flow, 1, work);
    load(flow, &p, state, 1);
    int64_t row = 1, first = transient;
    while (row < rows) {
        if (!flow->path || every > CHUNK) {
            status = advance(flow, &p, 1, first, every, 0, &lane, poll);
            memcpy(out + (size_t)row * dim, p.regs, bytes);
            row++, first += every;
        } else {
            int64_t part = CHUNK / every > 0 ? CHUNK / every : 1;
            if (part > rows - row) part = rows - row;
            memcpy(p.saved, p.regs, bytes);
            double bad = flow->path(p.regs, flow->c, flow->t0, flow->dt, first, part, every,
                                    out + (size_t)row * dim);
            for (size_t i = 0; i < dim; i++) bad += p.regs[i] - p.regs[i];
            if (!(bad == 0)) {
                memcpy(p.regs, p.saved, bytes);
                status = advance(flow, &p, 1, first, part * every, 0, &lane, NULL);
            }
            row += part, first += part * every;
            if (status == MS_FLOW_DONE &&
                ms_poll_spend(poll, (uint64_t)(part * every) * price(flow, 1)))
                status = MS_FLOW_STOPPED;
        }
        if (status != MS_FLOW_DONE) break;
    }
    memcpy(state, p.regs, bytes);
    return status;
}

static void gather(const double *regs, long lanes, int dim, long count, double *x, size_t stride) {
    for (long l = 0; l < count; l++)
        for (int i = 0; i < dim; i++) x[(size_t)l * stride + (size_t)i] = regs[i * lanes + l];
}

int64_t ms_flow_bundle(const ms_flow *flow, double *x, long count, int64_t transient, int64_t rows,
                       int64_t every, double *out, int keep_bad, long *lane, double *work,
                       ms_poll *poll) {
    const long lanes = count == 1 ? 1 : (count + 7) / 8 * 8;
    const size_t dim = (size_t)flow->dim;
    const parts p = split(flow, lanes, work);
    /* Lanes past the last start repeat it, so that they can neither fail alone nor be slow. */
    for (long l = 0; l < lanes; l++)
        for (size_t i = 0; i < dim; i++)
            p.spare[i * (size_t)lanes + (size_t)l] = x[(size_t)(l < count ? l : count - 1) * dim + i];
    load(flow, &p, p.spare, lanes);
    int64_t first = transient;
    int64_t status = advance(flow, &p, lanes, 0, transient, keep_bad, lane, poll);
    for (int64_t row = 0; row < rows && status == MS_FLOW_DONE; row++) {
        if (row > 0) {
            status = advance(flow, &p, lanes, first, every, keep_bad, lane, poll);
            first += every;
        }
        if (out) gather(p.regs, lanes, flow->dim, count, out + (size_t)row * dim, (size_t)rows * dim);
    }
    gather(p.regs, lanes, flow->dim, count, x, dim);
    return status;
}

/* --- tangent spaces --------------------------------------------------------------------------- */

void ms_flow_orthonormalise(double *v, int dim, long lanes, int k, double *r) {
    for (int c = 0; c < k; c++) {
        double square = 0;
        for (int i = 0; i < dim; i++) square += v[i * lanes + c] * v[i * lanes + c];
        double length = sqrt(square);
        if (!(length >= DBL_MIN)) {
            /* A direction that vanishes, as at a superstable cycle: its growth is 0, and any
             * direction orthogonal to the others takes its place. */
            length = 0;
            double best = 2;
            int axis = 0;
            for (int i = 0; i < dim; i++) {
                double taken = 0;
                for (int before = 0; before < c; before++)
                    taken += v[i * lanes + before] * v[i * lanes + before];
                if (taken < best) best = taken, axis = i;
            }
            for (int i = 0; i < dim; i++) v[i * lanes + c] = i == axis;
            for (int before = 0; before < c; before++) {
                const double dot = v[axis * lanes + before];
                for (int i = 0; i < dim; i++) v[i * lanes + c] -= dot * v[i * lanes + before];
            }
            square = 0;
            for (int i = 0; i < dim; i++) square += v[i * lanes + c] * v[i * lanes + c];
            const double norm = sqrt(square);
            for (int i = 0; i < dim; i++) v[i * lanes + c] /= norm;
        } else {
            const double inverse = 1 / length;
            for (int i = 0; i < dim; i++) v[i * lanes + c] *= inverse;
        }
        double *row = r + (size_t)c * (size_t)k;
        for (int later = 0; later < k; later++) row[later] = 0;
        for (int i = 0; i < dim; i++) {
            const double q = v[i * lanes + c];
            for (int later = c + 1; later < k; later++) row[later] += q * v[i * lanes + later];
        }
        for (int i = 0; i < dim; i++) {
            const double q = v[i * lanes + c];
            for (int later = c + 1; later < k; later++) v[i * lanes + later] -= row[later] * q;
        }
        row[c] = length;
    }
}

int64_t ms_flow_spectrum(const ms_flow *flow, double *state, long lanes, int k, int64_t first,
                         int64_t intervals, int64_t every, double *logs, double *volume,
                         double *path, double *frames, double *growth, double *work, ms_poll *poll) {
    const parts p = split(flow, lanes, work);
    const int dim = flow->dim, carries = flow->inputs > 2 * dim;
    load(flow, &p, state, lanes);
    double *columns = p.regs + (long)dim * lanes, *size = p.regs + 2 * (long)dim * lanes;
    int64_t status = MS_FLOW_DONE;
    long lane;
    for (int64_t n = 0; n < intervals && status == MS_FLOW_DONE; n++) {
        if (carries) fill(size, lanes, 0);
        status = advance(flow, &p, lanes, first + n * every, every, 0, &lane, poll);
        if (status != MS_FLOW_DONE) break;
        ms_flow_orthonormalise(columns, dim, lanes, k, p.r);
        for (int c = 0; c < k; c++) logs[n * k + c] = log(p.r[c * k + c]);
        if (carries) volume[n] = size[0];
        if (path)
            for (int i = 0; i < dim; i++) path[n * dim + i] = p.regs[i * lanes];
        if (frames) {
            double *frame = frames + (size_t)n * (size_t)dim * (size_t)k;
            for (int i = 0; i < dim; i++)
                for (int c = 0; c < k; c++) frame[i * k + c] = columns[i * lanes + c];
            memcpy(growth + (size_t)n * (size_t)k * (size_t)k, p.r, sizeof(double) * (size_t)k * (size_t)k);
        }
    }
    memcpy(state, p.regs, sizeof(double) * (size_t)flow->inputs * (size_t)lanes);
    return status;
}
