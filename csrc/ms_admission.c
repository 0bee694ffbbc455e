#include "ms_admission.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One, as a load. */
static const double UNIT = 1099511627776.0; /* 2^40 */

ms_admission *ms_admission_new(int by_deadline, unsigned processors)
{
    ms_admission *a = calloc(1, sizeof *a);
    if (a) {
        a->by_deadline = by_deadline;
        a->processors = processors;
    }
    return a;
}

void ms_admission_free(ms_admission *a)
{
    if (a)
        free(a->demands);
    free(a);
}

/* Share of a processor, rounded up to the fixed point. */
static int64_t load_of(const ms_work *work)
{
    double window = (double)work->period_ns;
    if (work->deadline_ns != INT64_MAX)
        window = fmin(window, (double)work->deadline_ns - (double)work->at_ns);
    /* A load above 1 is refused, however far above. */
    return (int64_t)ceil(fmin((double)work->cost_ns / fmax(window, 1.0), 2.0) * UNIT);
}

static int64_t log_of(int64_t load) { return (int64_t)ceil(log1p((double)load / UNIT) * UNIT); }

static int loads_fit(const ms_admission *a, int64_t more)
{
    /* Each load was rounded up by less than a unit, and each logarithm. */
    double rounding = (double)(a->n_periodic + 1);
    double load = ((double)(a->load + more) - rounding) / UNIT, m = a->processors;
    double largest = (double)(more > a->largest ? more : a->largest) / UNIT;
    if (largest > 1.0 + 1.0 / UNIT)
        return 0;
    if (a->by_deadline)
        return load <= m - (m - 1.0) * largest;
    if (a->processors > 1)
        return load <= m / 2.0 * (1.0 - largest) + largest;
    return (double)(a->log_load + log_of(more)) <= log(2.0) * UNIT + 2.0 * rounding;
}

/* First demand with a later deadline. */
static size_t after(const ms_admission *a, int64_t deadline_ns)
{
    size_t low = 0, high = a->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (a->demands[middle].deadline_ns <= deadline_ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int demands_fit(const ms_admission *a, const ms_work *work, int64_t now_ns)
{
    double rate = (double)a->processors - (double)a->load / UNIT;
    if (rate <= 0.0)
        return 0;
    size_t place = after(a, work->deadline_ns);
    double before = 0.0, cost = (double)work->cost_ns;
    for (size_t i = 0; i < place; i++)
        before += (double)a->demands[i].cost_ns;
    if ((before + cost) / rate > (double)(work->deadline_ns - now_ns))
        return 0;
    for (size_t i = place; i < a->n; i++) {
        before += (double)a->demands[i].cost_ns;
        double left = (double)(a->demands[i].deadline_ns - now_ns);
        if (before / rate <= left && (before + cost) / rate > left)
            return 0;
    }
    return 1;
}

static int is_demand(const ms_admission *a, const ms_work *work)
{
    return a->by_deadline && !work->period_ns && work->deadline_ns != INT64_MAX && work->cost_ns;
}

int ms_admission_admits(const ms_admission *a, const ms_work *work, int64_t now_ns)
{
    int64_t start_ns = work->at_ns > now_ns ? work->at_ns : now_ns;
    if (work->deadline_ns != INT64_MAX &&
        (work->deadline_ns < start_ns || work->deadline_ns - start_ns < work->cost_ns))
        return 0;
    if (work->period_ns && work->cost_ns)
        return loads_fit(a, load_of(work));
    return !is_demand(a, work) || demands_fit(a, work, now_ns);
}

int ms_admission_reserve(ms_admission *a)
{
    if (a->n < a->room)
        return 1;
    size_t room = a->room ? 2 * a->room : 64;
    ms_demand *larger = realloc(a->demands, room * sizeof *larger);
    if (!larger)
        return 0;
    a->demands = larger;
    a->room = room;
    return 1;
}

void ms_admission_add(ms_admission *a, const ms_work *work, uint32_t task)
{
    if (work->period_ns && work->cost_ns) {
        int64_t load = load_of(work);
        a->load += load;
        a->log_load += log_of(load);
        a->n_periodic++;
        if (load > a->largest)
            a->largest = load;
        return;
    }
    if (!is_demand(a, work))
        return;
    size_t place = after(a, work->deadline_ns);
    memmove(&a->demands[place + 1], &a->demands[place], (a->n - place) * sizeof *a->demands);
    a->demands[place] = (ms_demand){work->deadline_ns, work->cost_ns, task};
    a->n++;
}

void ms_admission_remove(ms_admission *a, const ms_work *work, uint32_t task)
{
    if (work->period_ns && work->cost_ns) {
        int64_t load = load_of(work);
        a->load -= load;
        a->log_load -= log_of(load);
        /* The largest stays until all are gone: on several processors that errs to the safe side. */
        if (--a->n_periodic == 0)
            a->largest = 0;
        return;
    }
    if (!is_demand(a, work))
        return;
    size_t place = after(a, work->deadline_ns);
    while (a->demands[place - 1].task != task)
        place--;
    memmove(&a->demands[place - 1], &a->demands[place], (a->n - place) * sizeof *a->demands);
    a->n--;
}
