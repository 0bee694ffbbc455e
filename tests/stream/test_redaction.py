"""Secrets are replaced while the text arrives, and no piece has any part of one."""

from __future__ import annotations

import json
import random
import string
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from midstream.errors import ArgumentTypeError, ArgumentValueError, ExpressionError
from midstream.stream import (
    CREDENTIALS,
    PERSONAL,
    SECRET_KINDS,
    Event,
    Guard,
    Match,
    PatternSet,
    Redactor,
    ready_policies,
    redact,
    secret_patterns,
)

LETTERS = string.ascii_letters + string.digits


def some(n, alphabet=LETTERS, seed=0):
    rng = random.Random(f"{n}{alphabet}{seed}")
    return "".join(rng.choice(alphabet) for _ in range(n))


def key(head, n, alphabet=LETTERS):
    return head + some(n, alphabet)


PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n"
    + "\n".join(some(64, LETTERS + "+/", line) for line in range(20))
    + "\n"
    + some(20)
    + "==\n-----END RSA PRIVATE KEY-----"
)

#: A secret of each kind; none is real. What comes before it may stay.
SECRETS = {
    "private-key": ("", PEM),
    "anthropic-key": ("", key("sk-ant-api03-", 93, LETTERS + "-_")),
    "openrouter-key": ("", key("sk-or-v1-", 64, "0123456789abcdef")),
    "openai-key": ("", key("sk-proj-", 120, LETTERS + "-_")),
    "groq-key": ("", key("gsk_", 52)),
    "xai-key": ("", key("xai-", 80)),
    "perplexity-key": ("", key("pplx-", 48)),
    "nvidia-key": ("", key("nvapi-", 64)),
    "fireworks-key": ("", key("fw_", 24)),
    "replicate-token": ("", key("r8_", 37)),
    "huggingface-token": ("", key("hf_", 34)),
    "google-key": ("", key("AIza", 35)),
    "google-token": ("", key("ya29.", 100)),
    "aws-key-id": ("", "AKIAIOSFODNN7EXAMPLE"),
    "aws-secret": ('"SecretAccessKey": "', key("", 40)),
    "github-token": ("", key("ghp_", 36)),
    "gitlab-token": ("", key("glpat-", 20)),
    "slack-token": ("", "xoxb-" + some(11, string.digits) + "-" + some(24)),
    "slack-webhook": ("https://", "hooks.slack.com/services/T0000/B0000/" + some(24)),
    "stripe-key": ("", key("sk_live_", 24)),
    "sendgrid-key": ("", "SG." + some(22) + "." + some(43)),
    "npm-token": ("", key("npm_", 36)),
    "pypi-token": ("", key("pypi-AgEIcHlwaS5vcmc", 150)),
    "jwt": ("", "eyJ" + some(33) + ".eyJ" + some(70) + "." + some(43)),
    "bearer-token": ("Authorization: Bearer ", key("", 32)),
    "url-password": ("postgres://app:", "s3cr3t!pass"),
    "email": ("", "ann.smith+list@mail.example.org"),
    "credit-card": ("", "4111 1111 1111 1111"),
    "iban": ("", "DE89 3704 0044 0532 0130 00"),
}


def text_of(kind):
    before, secret = SECRETS[kind]
    behind = "@db:5432/x" if kind == "url-password" else '" '
    return f"see {before}{secret}{behind}end"


def redacted(text, cuts=(), **settings):
    redactor = Redactor(**settings)
    places = sorted({0, *(cut % (len(text) + 1) for cut in cuts), len(text)})
    out = [redactor.feed(text[start:end]) for start, end in pairwise(places)]
    return [*out, redactor.finish()]


def test_there_is_a_secret_of_each_kind():
    assert set(SECRETS) == set(SECRET_KINDS)
    assert set(CREDENTIALS) | set(PERSONAL) == set(SECRET_KINDS)


@pytest.mark.parametrize("kind", SECRET_KINDS)
def test_each_kind_in_any_pieces(kind):
    _, secret = SECRETS[kind]
    text = text_of(kind)
    whole = "".join(redacted(text))
    assert whole == text.replace(secret, f"[redacted:{kind}]")
    for size in (1, 2, 3, 7, 50):
        out = redacted(text, range(0, len(text), size))
        assert "".join(out) == whole
    # Alone, that kind is found too, and nothing is where it is not asked for.
    assert "".join(redacted(text, kinds=[kind])) == whole
    others = [other for other in SECRET_KINDS if other != kind]
    assert f"[redacted:{kind}]" not in redact(text, others)
    assert secret[len(secret) // 3 : -len(secret) // 3] not in whole


@pytest.mark.parametrize("kind", SECRET_KINDS)
def test_in_the_json_of_arguments(kind):
    before, secret = SECRETS[kind]
    text = json.dumps({"content": f"# keys\n{before}{secret}{'@h' * (kind == 'url-password')}\n"})
    out = redact(text)
    assert json.loads(out)["content"].startswith(f"# keys\n{before}[redacted:")
    assert json.dumps(secret)[1:-1] not in out


NEVER = [
    "Use the risk-adjusted-return-on-capital of task-management-and-planning-software.",
    "pip install scikit-learn; see sk-learn-contrib-and-more-of-the-same-kind",
    "The bearer of this letter is known to us; basic understanding is enough.",
    "Timestamps: 1732873200000 and 1732873200000000000, phone +49 30 901820.",
    "Card 4111 1111 1111 1112 has a wrong check digit.",
    "DE89 3704 0044 0532 0130 01 IS NO IBAN, AND NEITHER IS AB12 CDEF GHIJ KLMN OPQR.",
    "https://example.org:8080/path?x=1@2 and user@localhost and a@b",
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n-----END PUBLIC KEY-----",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b, uuid 123e4567-e89b-12d3-a456-426614174000",
    "3.14159265358979323846264338327950288419716939937510",
    "eyJhbGciOi is how they begin. Bearer tokens. A-B C_D sk- gh_ AKIA",
]


@pytest.mark.parametrize("text", NEVER)
def test_what_is_no_secret_stays(text):
    assert redact(text) == text
    assert "".join(redacted(text, range(len(text)))) == text


def test_cards_and_ibans_among_other_numbers():
    assert redact("1234 4111 1111 1111 1111 22") == "1234 [redacted:credit-card] 22"
    assert redact("amex 3782-822463-10005.") == "amex [redacted:credit-card]."
    assert redact("5555555555554444,4012888888881881") == (
        "[redacted:credit-card],[redacted:credit-card]"
    )
    assert redact("AB11 GB82 WEST 1234 5698 7654 32 NEXT") == "AB11 [redacted:iban] NEXT"
    assert redact("NO9386011117947FR1420041010050500013M02606") == (
        "[redacted:iban][redacted:iban]"
    )


# Pieces


SCRAPS = st.sampled_from(
    [
        *(secret for _, secret in SECRETS.values()),
        *(before for before, _ in SECRETS.values() if before),
        *(secret[: len(secret) // 2] for _, secret in SECRETS.values()),
        *' \n"@:.-1A\\',
        "\\n",
        "sk-",
        "words and more ",
        "Überraschung 😀",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(SCRAPS, max_size=8).map("".join), st.lists(st.integers(0, 10**6), max_size=12))
def test_pieces_do_not_matter(text, cuts):
    whole = "".join(redacted(text))
    assert "".join(redacted(text, cuts)) == whole
    assert "".join(redacted(text, range(len(text)))) == whole


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SECRET_KINDS),
    st.lists(st.sampled_from(["word ", "\n", '"', "(", "é ", "; "]), max_size=4).map("".join),
    st.lists(st.integers(0, 10**6), max_size=30),
)
def test_no_increment_has_any_part_of_a_secret(kind, around, cuts):
    _, secret = SECRETS[kind]
    text = f"{around} {text_of(kind)} {around}"
    out = redacted(text, cuts)
    # What is left is the text around, in order: no piece has more.
    assert "".join(out) == text.replace(secret, f"[redacted:{kind}]")
    assert sum(piece.count(f"[redacted:{kind}]") for piece in out) == 1  # in one piece


@settings(deadline=None)
@given(st.lists(SCRAPS, max_size=6).map(" | ".join))
def test_what_comes_out_has_no_secret_more(text):
    once = redact(text)
    assert redact(once) == once


def test_what_is_held():
    redactor = Redactor(["openai-key"])
    assert redactor.feed("word s") == "word "
    assert redactor.held == 1
    assert redactor.feed("k") == ""
    assert redactor.feed("i") == "ski"
    assert redactor.held == 0
    assert redactor.feed(" sk-" + "a" * 40) == " "
    assert redactor.held == 43
    assert redactor.new == []
    assert redactor.feed(".") == "[redacted:openai-key]."
    assert redactor.new == [Match("openai-key", 9, 52)]
    assert redactor.feed("sk-abc") == ""
    assert redactor.finish() == "sk-abc"
    assert redactor.counts == {"openai-key": 1}
    assert redactor.feed("sk-" + "b" * 40) == ""
    assert redactor.finish() == "[redacted:openai-key]"
    assert redactor.new == [Match("openai-key", 0, 43)]
    assert redactor.counts == {"openai-key": 2}


def test_what_is_released_before_it_is_certain():
    redactor = Redactor(["openai-key", "email"])
    assert redactor.feed("ask sk-abc") == "ask "
    assert redactor.release() == "sk-abc"
    assert redactor.held == 0
    assert redactor.feed("def") == ""
    assert redactor.release() == "def"
    assert redactor.feed("g" * 40) == ""
    assert redactor.release() == ""  # certain by now
    assert redactor.feed("h ") == "[redacted:openai-key] "
    assert redactor.new == [Match("openai-key", 13, 54)]
    assert redactor.feed("bob@example.org") == ""
    assert redactor.release() == ""
    assert redactor.feed("\\") == "[redacted:email]\\"
    assert redactor.feed("nann") + redactor.release() == "nann"
    assert redactor.feed("@example.org") + redactor.finish() == "[redacted:email]"


@settings(deadline=None)
@given(st.lists(SCRAPS, max_size=6), st.lists(st.booleans(), min_size=6, max_size=6))
def test_release_loses_nothing(scraps, times):
    redactor = Redactor(placeholder="")
    text, n_out, n_gone = "".join(scraps), 0, 0
    for scrap, release in zip(scraps, times, strict=False):
        n_out += len(redactor.feed(scrap))
        n_gone += sum(match.end - match.start for match in redactor.new)
        if release:
            n_out += len(redactor.release())
            assert n_out + redactor.held <= len(text)
    n_out += len(redactor.finish())
    n_gone += sum(match.end - match.start for match in redactor.new)
    assert n_out <= len(text) <= n_out + n_gone


def test_overlapping_secrets_become_one():
    patterns = {"first": "abc+", "second": "cd+", "inner": "b"}
    for size in (1, 2, 3, 9):
        text = "-abccdd-b-"
        out = redacted(text, range(0, 10, size), kinds=(), patterns=patterns)
        assert "".join(out) == "-[redacted:first]-[redacted:inner]-"


def test_own_patterns_and_placeholder():
    out = redact("ticket T-1234 of ann@example.org", ["email"],
                 patterns={"ticket": r"T-\d+"}, placeholder="<{}>")  # fmt: skip
    assert out == "ticket <ticket> of <email>"


def test_an_escape_before_a_secret_stays_whole():
    assert redact(r"\nann@example.org") == r"\n[redacted:email]"
    assert redact(r"\\nann@example.org") == r"\\[redacted:email]"
    assert redact(r"\u00e9ann@example.org") == r"\u00e9[redacted:email]"
    for text in (r"\nann@example.org", r"x\\nann@example.org", r"\\\nann@example.org"):
        assert "".join(redacted(text, range(99))) == redact(text)


# Limits


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["eyJ" + "a" * 700, "x" * 600, "1" * 800, "{", "}", " ", ".bbbbbbbbb", "<", "a@b.org"]
        ),
        max_size=9,
    ).map("".join),
    st.lists(st.integers(0, 10**6), max_size=8),
)
@example("{" + "x" * 3000 + "} after", [])
@example("{" + "x" * 3000, [])
@example("{" + "x" * 2000 + "<" + "y" * 1500 + "} after", [])
def test_what_is_too_long_to_hold_is_hidden_whatever_the_pieces(text, cuts):
    settings = {
        "kinds": ["jwt", "credit-card", "email"],
        "patterns": {"braces": r"\{[^}\s]*\}", "open": r"<[^ ]*>"},
        "max_held": 1024,
    }
    whole = "".join(redacted(text, **settings))
    assert "".join(redacted(text, cuts, **settings)) == whole
    assert "".join(redacted(text, range(len(text)), **settings)) == whole


def test_what_is_too_long_to_hold():
    redactor = Redactor((), patterns={"braces": r"\{[^}]*\}"}, max_held=1024)
    assert redactor.feed("a {" + "x" * 1022) == "a "
    assert redactor.held == 1023
    assert redactor.feed("x") == "[redacted:braces]"
    assert redactor.held == 0
    for _ in range(100):
        assert redactor.feed("y" * 1000) == ""
        assert redactor.memory_bytes < 10_000
    assert redactor.feed("} b") == " b"
    assert redactor.counts == {"braces": 1}


def test_a_long_key_is_left_out_to_its_end():
    body = "\n".join(some(64, LETTERS, line) for line in range(1000))
    text = f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\nafter"
    for cuts in ((), range(0, len(text), 977)):
        assert "".join(redacted(text, cuts, max_held=2048)) == "[redacted:private-key]\nafter"
    cut_off = redacted(text[:30_000], range(0, 30_000, 100), max_held=2048)
    assert "".join(cut_off) == "[redacted:private-key]"


def test_patterns_of_kinds():
    assert set(secret_patterns()) == set(CREDENTIALS)
    found = PatternSet(secret_patterns(SECRET_KINDS))
    for kind in SECRET_KINDS:
        scanner = found.scanner()
        told = [*scanner.feed(text_of(kind)), *scanner.finish()]
        assert kind in {match.name for match in told}
    with pytest.raises(ArgumentValueError, match="did you mean 'email'"):
        secret_patterns(["emial"])


@pytest.mark.parametrize("kind", CREDENTIALS)
def test_the_ready_rule_knows_the_kinds(kind):
    before, secret = SECRETS[kind]
    content = f"KEY:\n{before}{secret}{'@db:5432' * (kind == 'url-password')} "
    for event in (
        Event("text", 0, 0, content),
        Event("tool_call", 0, 0, json.dumps({"content": content}), "write", None, "0/0", "c1"),
    ):
        guard = Guard(policies=ready_policies("no-secret"))
        found = [*guard.take(event).findings, *guard.finish().findings]
        # What has no beginning of its own would be found in examples of code as well.
        assert len(found) == (kind not in {"aws-secret", "bearer-token"})


def test_arguments_that_cannot_be_used():
    with pytest.raises(ArgumentValueError, match=r"kinds .* got 'emails'; did you mean 'email'"):
        Redactor(["emails"])
    with pytest.raises(ArgumentTypeError, match="kinds must be a collection of str, got 'email'"):
        Redactor("email")
    with pytest.raises(ArgumentValueError, match="patterns must not be named like a kind"):
        Redactor(patterns={"email": "a"})
    with pytest.raises(ArgumentValueError, match="max_held must be at least 1024, got 10"):
        Redactor(max_held=10)
    with pytest.raises(ExpressionError, match=r"patterns\['x'\]"):
        Redactor(patterns={"x": "("})
    with pytest.raises(ArgumentTypeError, match=r"patterns\['x'\] must be str, got int"):
        Redactor(patterns={"x": 3})
    with pytest.raises(ArgumentTypeError, match="text must be str, got bytes"):
        redact(b"a")
