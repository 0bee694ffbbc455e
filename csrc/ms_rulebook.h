/* Many rules over one stream of events: each rule is an automaton that reads its atoms out of one
 * global bit set.
 *
 * A program is fixed: automata, rules, operations on bits. What changes from event to event is a
 * slice, one flat block of bytes, so that trying an event, undoing a batch and saving are copies.
 * Counts in a window remember as many places as they count to: behind the rest of the slice, which
 * has room for a few at first and is copied into a larger block when they are full.
 * A rule is stepped only if one of its atoms is true, or if its state is left by the letter where
 * none is. */
#ifndef MS_RULEBOOK_H
#define MS_RULEBOOK_H

#include <stddef.h>
#include <stdint.h>

enum ms_rb_kind {
    MS_RB_NOT = 0,
    MS_RB_AND = 1,
    MS_RB_OR = 2,
    MS_RB_COUNT = 3, /* the argument held at least `at_least` times in the window */
    MS_RB_YESTERDAY = 4,
    MS_RB_WEAK_YESTERDAY = 5,
    MS_RB_SINCE = 6, /* window [0, high], or [low, infinity) */
    MS_RB_LATE = 7,  /* an earlier p has waited for q for longer than high, or over steps will have */
    MS_RB_DELAYED = 8 /* since, over steps, with any window */
};

/* An operation that adds bit `out` to the letter. Positions are steps of the slice, or times. */
typedef struct ms_rb_op {
    int32_t kind;
    int32_t out;
    int32_t first; /* its arguments in ms_rb.args: bits, each before it in order */
    int32_t n_args;
    int32_t timed;
    int32_t at_least;
    double low;
    double high;
    size_t memory; /* its first number in the slice */
    size_t ring;   /* places of a count in a window; 0 of all else */
    int32_t owner; /* the rule that begins anew, or goes back, together with it, or -1 */
} ms_rb_op;

typedef struct ms_rb_automaton {
    uint32_t n_states;
    uint32_t n_atoms;
    const int32_t *table; /* n_states << n_atoms, or NULL: then the diagram is walked */
    const int32_t *roots;
    const int32_t *nodes; /* rows variable, low, high; a negative reference r is state ~r */
    const uint8_t *colours;
    const uint8_t *traits; /* MS_RB_IDLE ... of each state */
} ms_rb_automaton;

enum {
    MS_RB_IDLE = 1, /* the letter without true atoms leaves it where it is */
    MS_RB_SINK = 2, /* so does every letter */
    MS_RB_HOT = 4   /* a trigger counts here */
};

/* What a rule does after an event that violated it: stay violated, begin anew, or go on as if that
 * event had not been. */
enum { MS_RB_STAY = 0, MS_RB_RESET = 1, MS_RB_SKIP = 2 };

typedef struct ms_rb_rule {
    uint32_t automaton;
    uint32_t first_atom; /* in ms_rb.atoms: global bits of the automaton's variables */
    int32_t trigger;     /* counts the events at which its state is hot, and has no verdict */
    int32_t again;       /* once violated: MS_RB_STAY ... */
} ms_rb_rule;

typedef struct ms_rb {
    size_t n_automata, n_rules, n_ops, n_gate_ops, n_bits;
    int32_t gate; /* the bit without which an event does not concern this program, or -1 */
    size_t words; /* of the letter */
    size_t rule_words;
    const ms_rb_automaton *automata;
    const ms_rb_rule *rules;
    const uint32_t *atoms;
    const ms_rb_op *ops;
    const uint32_t *args;
    const uint64_t *touched; /* n_bits rows of rule_words: the rules that read a bit */
    /* Layout of a slice, as offsets in bytes; slice_bytes is where its rings begin. */
    size_t states_at, since_at, awake_at, memory_at, n_numbers, slice_bytes;
    size_t first_room, most_room; /* places of each ring of a slice that is new, and of any */
} ms_rb;

/* The head of a slice. */
typedef struct ms_rb_slice {
    uint64_t steps;
    uint64_t undecided; /* rules without a final verdict, triggers left out */
    uint64_t room;      /* places of each ring, as far as it has so many */
} ms_rb_slice;

typedef struct ms_rb_change {
    uint32_t rule;
    uint8_t before; /* colours */
    uint8_t after;
    int64_t since; /* the step that had led to the state that was left */
} ms_rb_change;

/* Verdict codes, as in midstream/logic/verdict.py. */
enum { MS_RB_FALSE = 0, MS_RB_TRUE = 4 };

/* Offsets of a slice, from the counts; n_numbers is what the operations need. */
void ms_rb_layout(ms_rb *p, size_t n_numbers);
/* Bytes of memory of an operation, in doubles; places of its ring. */
size_t ms_rb_op_numbers(const ms_rb_op *op);
size_t ms_rb_op_ring(const ms_rb_op *op);
/* Bytes of a slice with room for so many places. */
size_t ms_rb_bytes(const ms_rb *p, size_t room);
/* Room that a slice must have before it takes its next event; at least what it has. */
size_t ms_rb_wanted_room(const ms_rb *p, const unsigned char *slice);
/* Room that holds what it remembers: the same for the same events. */
size_t ms_rb_needed_room(const ms_rb *p, const unsigned char *slice);
/* Copy a slice into a block of ms_rb_bytes(p, room); it needs no more room than that. */
void ms_rb_resize(const ms_rb *p, unsigned char *to, const unsigned char *slice, size_t room);
/* What a state of an automaton is; traits has n_states entries. */
void ms_rb_traits(const ms_rb_automaton *a, const uint8_t *accepting, int trigger,
                  uint8_t *traits);
/* A slice that has seen nothing, in a block of ms_rb_bytes(p, p->first_room). */
void ms_rb_begin(const ms_rb *p, unsigned char *slice);
/* 1 if a slice read from outside keeps every bound that ms_rb_step relies on; its block must be as
 * large as its room says. */
int ms_rb_check(const ms_rb *p, const unsigned char *slice);
/* Whether the event concerns the program; letter gets the bits that this takes. */
int ms_rb_gate(const ms_rb *p, uint64_t *letter);
/* Take an event: letter has the bits of the event, and room for those that operations add.
 * hits and broken count per rule. Changes of colour go to out, which has room for n_rules; returns
 * their number. The slice must have the room that it wants. An illegal letter of a restricted alphabet leaves a rule where it is. before is a
 * copy of the slice as it is now, for rules that go back; it may be NULL where no rule does. */
size_t ms_rb_step(const ms_rb *p, unsigned char *slice, const unsigned char *before,
                  uint64_t *letter, int64_t step, double time, int64_t *hits, int64_t *broken,
                  ms_rb_change *out);
/* Whether a letter, as ms_rb_step left it, is legal for a rule in the slice before that step. */
int ms_rb_legal(const ms_rb *p, const unsigned char *before, const uint64_t *letter, size_t rule);

#endif
