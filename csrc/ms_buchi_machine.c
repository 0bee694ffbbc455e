#include "ms_buchi_machine.h"

#include <stdlib.h>
#include <string.h>

/* No reference: a place that is still empty. */
#define EMPTY INT32_MIN
#define WORK 8

static uint32_t mix(int32_t a, int32_t b, int32_t c) {
    uint64_t x = ((uint64_t)(uint32_t)a << 32 | (uint32_t)b) * UINT64_C(0x9E3779B97F4A7C15);
    x ^= (uint64_t)(uint32_t)c * UINT64_C(0xC2B2AE3D27D4EB4F);
    x ^= x >> 29;
    x *= UINT64_C(0xBF58476D1CE4E5B9);
    return (uint32_t)(x >> 32);
}

int ms_machine_init(ms_machine *machine) {
    memset(machine, 0, sizeof *machine);
    machine->node_capacity = 64;
    machine->state_capacity = 16;
    machine->n_heads = 64;
    machine->nodes = malloc(3 * 64 * sizeof(int32_t));
    machine->chain = malloc(64 * sizeof(int32_t));
    machine->heads = malloc(64 * sizeof(int32_t));
    machine->roots = malloc(16 * sizeof(int32_t));
    machine->colours = malloc(16);
    if (machine->nodes == NULL || machine->chain == NULL || machine->heads == NULL ||
        machine->roots == NULL || machine->colours == NULL)
        return MS_BUCHI_NO_MEMORY;
    memset(machine->heads, 0xFF, 64 * sizeof(int32_t));
    return MS_BUCHI_OK;
}

void ms_machine_free(ms_machine *machine) {
    free(machine->nodes);
    free(machine->chain);
    free(machine->heads);
    free(machine->roots);
    free(machine->colours);
    memset(machine, 0, sizeof *machine);
}

static int grow_nodes(ms_machine *machine) {
    if (machine->node_capacity > INT32_MAX / 8) return MS_BUCHI_TOO_MANY_NODES;
    const int32_t capacity = 2 * machine->node_capacity;
    int32_t *nodes = realloc(machine->nodes, 3 * (size_t)capacity * sizeof *nodes);
    if (nodes == NULL) return MS_BUCHI_NO_MEMORY;
    machine->nodes = nodes;
    int32_t *chain = realloc(machine->chain, (size_t)capacity * sizeof *chain);
    if (chain == NULL) return MS_BUCHI_NO_MEMORY;
    machine->chain = chain;
    machine->node_capacity = capacity;
    int32_t *heads = realloc(machine->heads, (size_t)capacity * sizeof *heads);
    if (heads == NULL) return MS_BUCHI_NO_MEMORY;
    machine->heads = heads;
    machine->n_heads = capacity;
    memset(heads, 0xFF, (size_t)capacity * sizeof *heads);
    for (int32_t i = 0; i < machine->n_nodes; i++) {
        const uint32_t at = mix(nodes[3 * (size_t)i], nodes[3 * (size_t)i + 1],
                                nodes[3 * (size_t)i + 2]) &
                            (uint32_t)(capacity - 1);
        chain[i] = heads[at];
        heads[at] = i;
    }
    return MS_BUCHI_OK;
}

int32_t ms_machine_node(ms_machine *machine, int32_t var, int32_t low, int32_t high, int *status) {
    if (low == high) return low;
    const uint32_t hash = mix(var, low, high);
    for (int32_t i = machine->heads[hash & (uint32_t)(machine->n_heads - 1)]; i >= 0;
         i = machine->chain[i]) {
        const int32_t *node = machine->nodes + 3 * (size_t)i;
        if (node[0] == var && node[1] == low && node[2] == high) return i;
    }
    if (machine->n_nodes == machine->node_capacity) {
        const int grown = grow_nodes(machine);
        if (grown != MS_BUCHI_OK) {
            *status = grown;
            return -1;
        }
    }
    const uint32_t at = hash & (uint32_t)(machine->n_heads - 1);
    int32_t *node = machine->nodes + 3 * (size_t)machine->n_nodes;
    node[0] = var;
    node[1] = low;
    node[2] = high;
    machine->chain[machine->n_nodes] = machine->heads[at];
    machine->heads[at] = machine->n_nodes;
    return machine->n_nodes++;
}

int32_t ms_machine_state(ms_machine *machine, uint8_t colour) {
    if (machine->n_states == machine->state_capacity) {
        if (machine->state_capacity > INT32_MAX / 4) return -1;
        const int32_t capacity = 2 * machine->state_capacity;
        int32_t *roots = realloc(machine->roots, (size_t)capacity * sizeof *roots);
        if (roots == NULL) return -1;
        machine->roots = roots;
        uint8_t *colours = realloc(machine->colours, (size_t)capacity);
        if (colours == NULL) return -1;
        machine->colours = colours;
        machine->state_capacity = capacity;
    }
    machine->colours[machine->n_states] = colour;
    return machine->n_states++;
}

void ms_machine_close(ms_machine *machine) {
    for (int32_t i = 0; i < machine->n_nodes; i++)
        for (int side = 1; side <= 2; side++)
            if (machine->nodes[3 * (size_t)i + side] == MS_MACHINE_ILLEGAL)
                machine->nodes[3 * (size_t)i + side] = ~machine->n_states;
    for (int32_t s = 0; s < machine->n_states; s++)
        if (machine->roots[s] == MS_MACHINE_ILLEGAL) machine->roots[s] = ~machine->n_states;
}

/* Copy the diagram at `root` into `out`, with leaves renamed by `leaf` (of states of `in`). What
 * `copied` has is copied already; EMPTY where there is none. Nodes may stand in any order, so this
 * walks with a stack: a node stays on it until its children are copied. */
static int32_t copy(const ms_machine *in, int32_t root, const int32_t *leaf, ms_machine *out,
                    int32_t *copied, int32_t *stack, int *status) {
    int32_t depth = 0;
#define COPY_OF(r) ((r) >= 0 ? copied[r] : ~(r) >= in->n_states ? MS_MACHINE_ILLEGAL : ~leaf[~(r)])
    if (root >= 0 && copied[root] == EMPTY) stack[depth++] = root;
    while (depth > 0) {
        const int32_t *node = in->nodes + 3 * (size_t)stack[depth - 1];
        const int32_t before = depth;
        for (int side = 1; side <= 2; side++)
            if (node[side] >= 0 && copied[node[side]] == EMPTY) stack[depth++] = node[side];
        if (depth > before) continue;
        const int32_t at = stack[--depth];
        if (copied[at] != EMPTY) continue; /* met twice before its turn */
        copied[at] = ms_machine_node(out, node[0], COPY_OF(node[1]), COPY_OF(node[2]), status);
        if (*status != MS_BUCHI_OK) return -1;
    }
    return COPY_OF(root);
#undef COPY_OF
}

/* Classes of states by (own class, successors' classes): one round. Returns how many there are. */
static int32_t refine(const ms_machine *in, int32_t *class_of, int32_t *next, int32_t *copied,
                      int32_t *stack, int32_t *heads, int32_t *chain, int32_t *signature,
                      int32_t n_heads, int *status) {
    ms_machine scratch;
    int32_t count = 0;
    *status = ms_machine_init(&scratch);
    for (int32_t i = 0; i < in->n_nodes; i++) copied[i] = EMPTY;
    memset(heads, 0xFF, (size_t)n_heads * sizeof *heads);
    for (int32_t s = 0; s < in->n_states && *status == MS_BUCHI_OK; s++) {
        const int32_t root = copy(in, in->roots[s], class_of, &scratch, copied, stack, status);
        if (*status != MS_BUCHI_OK) break;
        const uint32_t at = mix(class_of[s], root, 0) & (uint32_t)(n_heads - 1);
        int32_t c = heads[at];
        while (c >= 0 && !(signature[2 * (size_t)c] == class_of[s] &&
                           signature[2 * (size_t)c + 1] == root))
            c = chain[c];
        if (c < 0) {
            c = count++;
            signature[2 * (size_t)c] = class_of[s];
            signature[2 * (size_t)c + 1] = root;
            chain[c] = heads[at];
            heads[at] = c;
        }
        next[s] = c;
    }
    ms_machine_free(&scratch);
    return count;
}

int ms_machine_minimise(const ms_machine *in, ms_machine *out, ms_poll *poll) {
    const size_t n = (size_t)in->n_states;
    int32_t n_heads = 16;
    while (n_heads < in->n_states && n_heads < INT32_MAX / 2) n_heads *= 2;
    int32_t *class_of = malloc(n * sizeof *class_of), *next = malloc(n * sizeof *next);
    int32_t *chain = malloc(n * sizeof *chain), *signature = malloc(2 * n * sizeof *signature);
    int32_t *heads = malloc((size_t)n_heads * sizeof *heads);
    int32_t *copied = malloc(((size_t)in->n_nodes + 1) * sizeof *copied);
    /* A node is pushed again by each parent that finds it uncopied: two edges a node. */
    int32_t *stack = malloc((2 * (size_t)in->n_nodes + 2) * sizeof *stack);
    int status = ms_machine_init(out);
    int32_t known[256], count = 0;
    if (class_of == NULL || next == NULL || chain == NULL || signature == NULL || heads == NULL ||
        copied == NULL || stack == NULL)
        status = MS_BUCHI_NO_MEMORY;
    if (status != MS_BUCHI_OK) goto done;
    memset(known, 0xFF, sizeof known);
    for (size_t s = 0; s < n; s++) {
        if (known[in->colours[s]] < 0) known[in->colours[s]] = count++;
        class_of[s] = known[in->colours[s]];
    }
    for (;;) {
        const int32_t classes = refine(in, class_of, next, copied, stack, heads, chain, signature,
                                       n_heads, &status);
        if (status != MS_BUCHI_OK) goto done;
        memcpy(class_of, next, n * sizeof *class_of);
        if (classes == count) break;
        count = classes;
        if (ms_poll_spend(poll, WORK * ((uint64_t)in->n_nodes + n))) {
            status = MS_BUCHI_STOPPED;
            goto done;
        }
    }
    {
        /* Breadth-first from the class of state 0: `next` numbers classes, `chain` lists one member
         * of each in the order of the numbers, `signature` stands in for the first member. */
        int32_t *number = next, *member = chain, *first = signature;
        for (int32_t c = 0; c < count; c++) number[c] = first[c] = -1;
        for (size_t s = n; s-- > 0;) first[class_of[s]] = (int32_t)s;
        int32_t reached = 0;
        number[class_of[0]] = reached;
        member[reached++] = first[class_of[0]];
        for (int32_t i = 0; i < in->n_nodes; i++) copied[i] = 0; /* 1: walked */
        for (int32_t k = 0; k < reached; k++) {
            int32_t depth = 0;
            stack[depth++] = in->roots[member[k]];
            while (depth > 0) {
                const int32_t r = stack[--depth];
                if (r < 0) {
                    if (~r >= in->n_states || number[class_of[~r]] >= 0) continue;
                    number[class_of[~r]] = reached;
                    member[reached++] = first[class_of[~r]];
                } else if (!copied[r]) {
                    copied[r] = 1;
                    stack[depth++] = in->nodes[3 * (size_t)r + 2];
                    stack[depth++] = in->nodes[3 * (size_t)r + 1];
                }
            }
        }
        for (size_t s = 0; s < n; s++) class_of[s] = number[class_of[s]];
        for (int32_t i = 0; i < in->n_nodes; i++) copied[i] = EMPTY;
        for (int32_t k = 0; k < reached; k++) {
            const int32_t s = ms_machine_state(out, in->colours[member[k]]);
            if (s < 0) status = MS_BUCHI_NO_MEMORY;
            if (status != MS_BUCHI_OK) goto done;
            out->roots[s] = copy(in, in->roots[member[k]], class_of, out, copied, stack, &status);
            if (status != MS_BUCHI_OK) goto done;
        }
        ms_machine_close(out);
    }
done:
    free(class_of);
    free(next);
    free(chain);
    free(signature);
    free(heads);
    free(copied);
    free(stack);
    return status;
}

/* Pairs of references -> a reference, open addressing. */
typedef struct pair_map {
    int32_t *items; /* a, b, value */
    size_t capacity, count;
} pair_map;

static int pairs_init(pair_map *map, size_t capacity) {
    map->items = malloc(3 * capacity * sizeof *map->items);
    map->capacity = capacity;
    map->count = 0;
    if (map->items == NULL) return MS_BUCHI_NO_MEMORY;
    for (size_t i = 0; i < capacity; i++) map->items[3 * i + 2] = EMPTY;
    return MS_BUCHI_OK;
}

static int32_t *pairs_find(const pair_map *map, int32_t a, int32_t b) {
    size_t at = mix(a, b, 1) & (map->capacity - 1);
    for (;;) {
        int32_t *item = map->items + 3 * at;
        if (item[2] == EMPTY || (item[0] == a && item[1] == b)) return item;
        at = (at + 1) & (map->capacity - 1);
    }
}

static int pairs_put(pair_map *map, int32_t a, int32_t b, int32_t value) {
    if (2 * (map->count + 1) > map->capacity) {
        pair_map larger;
        if (pairs_init(&larger, 2 * map->capacity) != MS_BUCHI_OK) return MS_BUCHI_NO_MEMORY;
        for (size_t i = 0; i < map->capacity; i++) {
            const int32_t *item = map->items + 3 * i;
            if (item[2] != EMPTY)
                memcpy(pairs_find(&larger, item[0], item[1]), item, 3 * sizeof *item);
        }
        larger.count = map->count;
        free(map->items);
        *map = larger;
    }
    int32_t *item = pairs_find(map, a, b);
    item[0] = a;
    item[1] = b;
    item[2] = value;
    map->count++;
    return MS_BUCHI_OK;
}

typedef struct product {
    const ms_machine *a, *b;
    const uint8_t *combine;
    int32_t max_states;
    ms_machine *out;
    pair_map map;
    int32_t *members; /* pairs of states, by state of the product */
    size_t capacity;
    int status;
    ms_poll *poll;
} product;

/* As deep as there are atoms. */
static int32_t walk(product *p, int32_t ra, int32_t rb) {
    if ((ra < 0 && ~ra >= p->a->n_states) || (rb < 0 && ~rb >= p->b->n_states))
        return MS_MACHINE_ILLEGAL;
    const int32_t *known = pairs_find(&p->map, ra, rb);
    if (known[2] != EMPTY) return known[2];
    if (p->status != MS_BUCHI_OK) return -1;
    if (ms_poll_spend(p->poll, WORK)) {
        p->status = MS_BUCHI_STOPPED;
        return -1;
    }
    int32_t value;
    if (ra < 0 && rb < 0) {
        const int32_t s =
            ms_machine_state(p->out, p->combine[5 * p->a->colours[~ra] + p->b->colours[~rb]]);
        if (s < 0) p->status = MS_BUCHI_NO_MEMORY;
        if (s >= p->max_states) p->status = MS_BUCHI_TOO_MANY_STATES;
        if (p->status == MS_BUCHI_OK && (size_t)s == p->capacity) {
            int32_t *members = realloc(p->members, 4 * p->capacity * sizeof *members);
            if (members == NULL) {
                p->status = MS_BUCHI_NO_MEMORY;
            } else {
                p->members = members;
                p->capacity *= 2;
            }
        }
        if (p->status != MS_BUCHI_OK) return -1;
        p->members[2 * (size_t)s] = ~ra;
        p->members[2 * (size_t)s + 1] = ~rb;
        value = ~s;
    } else {
        const int32_t *na = ra < 0 ? NULL : p->a->nodes + 3 * (size_t)ra;
        const int32_t *nb = rb < 0 ? NULL : p->b->nodes + 3 * (size_t)rb;
        int32_t var = na == NULL ? nb[0] : na[0];
        if (nb != NULL && nb[0] < var) var = nb[0];
        const int in_a = na != NULL && na[0] == var, in_b = nb != NULL && nb[0] == var;
        const int32_t low = walk(p, in_a ? na[1] : ra, in_b ? nb[1] : rb);
        const int32_t high = walk(p, in_a ? na[2] : ra, in_b ? nb[2] : rb);
        if (p->status != MS_BUCHI_OK) return -1;
        value = ms_machine_node(p->out, var, low, high, &p->status);
        if (p->status != MS_BUCHI_OK) return -1;
    }
    if (pairs_put(&p->map, ra, rb, value) != MS_BUCHI_OK) p->status = MS_BUCHI_NO_MEMORY;
    return value;
}

int ms_machine_product(const ms_machine *a, const ms_machine *b, const uint8_t *combine,
                       int32_t max_states, ms_machine *out, ms_poll *poll) {
    product p = {a, b, combine, max_states, out, {NULL, 0, 0}, NULL, 64, MS_BUCHI_OK, poll};
    p.status = ms_machine_init(out);
    if (p.status == MS_BUCHI_OK) p.status = pairs_init(&p.map, 256);
    p.members = malloc(2 * p.capacity * sizeof *p.members);
    if (p.members == NULL) p.status = MS_BUCHI_NO_MEMORY;
    if (p.status == MS_BUCHI_OK) walk(&p, ~0, ~0);
    for (int32_t s = 0; s < out->n_states && p.status == MS_BUCHI_OK; s++) {
        const int32_t root = walk(&p, a->roots[p.members[2 * (size_t)s]],
                                  b->roots[p.members[2 * (size_t)s + 1]]);
        out->roots[s] = root;
    }
    if (p.status == MS_BUCHI_OK) ms_machine_close(out);
    free(p.members);
    free(p.map.items);
    return p.status;
}
