"""Text that reads as written and does not repeat itself, from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

__all__ = ["Prose"]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split("|"))


_PEOPLE = _words(
    "the keeper|the doctor|a courier|my neighbour|the old pilot|the baker|a student|the engineer"
    "|her brother|the gardener|a stranger|the captain|the clerk|our guide|the violinist|a farmer"
    "|the watchmaker|the twins|the mayor|a fisherman|the librarian|his aunt|the night nurse"
    "|the surveyor|a drummer|the translator|the goalkeeper|a beekeeper|the judge|the plumber"
)
_THINGS = _words(
    "lantern|letter|map|kettle|bicycle|telescope|ledger|boat|clock|coat|radio|key|ladder|parcel"
    "|camera|basket|bridge|engine|umbrella|notebook|window|drum|mirror|rope|ticket|garden|compass"
    "|piano|tent|bell|scarf|barrel|fence|stove|wheel|hammer|curtain|jar|saddle|violin|crate|hat"
    "|rudder|stamp|candle|bench|sack|gate|well|sledge|hinge|printer|cable|valve|shelf|pump|oar"
)
_PLACES = _words(
    "harbour|station|orchard|market|attic|quarry|lighthouse|mill|valley|square|workshop|library"
    "|tunnel|island|courtyard|bakery|ferry|vineyard|observatory|barn|cellar|theatre|pass|marsh"
    "|brewery|museum|greenhouse|depot|chapel|pier|school|canal|archive|foundry|meadow|tower"
)
_DEEDS = _words(
    "repaired|hid|carried|found|painted|sold|borrowed|lost|measured|opened|dropped|weighed|mended"
    "|described|polished|buried|sketched|returned|forgot|bought|photographed|unpacked|guarded|moved"
    "|counted|cleaned|admired|dismantled|labelled|tested|lent|wrapped|locked|copied|burnt|saved"
)
_KINDS = _words(
    "rusty|narrow|borrowed|heavy|silent|yellow|broken|foreign|tiny|polished|wet|crooked|expensive"
    "|dusty|wooden|forgotten|bright|second|cheap|smooth|torn|warm|square|hollow|famous|slow|blue"
    "|loose|ancient|spare|frozen|striped|noisy|thin|golden|muddy|plain|sturdy|pale|curious"
)
_WAYS = _words(
    "carefully|at once|without a word|by mistake|before breakfast|in the rain|twice|for hours"
    "|with one hand|against advice|after the storm|reluctantly|in secret|under a grey sky|for free"
    "|as a favour|at low tide|on a Tuesday|in good time|out of habit|with great noise|by candle"
    "|between two trains|long after dark|to everyone's surprise|in a hurry|the same evening"
)
_REASONS = _words(
    "nobody had asked|the road was closed|it had cost too much|winter came early|the price had gone"
    " up|someone had left the door open|the last bus was gone|the ink had not dried|there was no"
    " other light|the dog would not move|it was somebody's birthday|the lift was out of order|the"
    " tide had turned|the telephone was ringing|the answer had come by post|the roof was leaking"
)
_SHAPES = (
    "{P} {d} {k} {t} {w}",
    "in the {l}, {p} {d} {k} {t}, since {r}",
    "{w}, {p} {d} {k} {t} near the {l}",
    "nobody at the {l} knew why {p} had {d} the {t}",
    "{k} {t} stood in the {l}; {p} {d} it {w}",
    "since {r}, {p} {d} {k} {t} and went to the {l}",
    "it took {n} days until {p} {d} the {t} from the {l}",
    "there were {n} of them in the {l}, but only {p} {d} one {w}",
    "{p} asked for {k} {t}, got {n}, and {d} them {w}",
    "what {p} {d} at the {l} was {k} {t}, and {r}",
    "by the {l} lay {k} {t} that {p} had {d} {w}",
    "neither the {t} nor the {l} was mentioned when {p} spoke of the year {y}",
)
_LINKS = ("", "", "", "", "later, ", "then ", "all the same, ", "of course, ", "meanwhile, ")


class Prose:
    """Sentences without end.

    Parameters
    ----------
    random : Random
        Where the choices come from.

    Notes
    -----
    Some 5 microseconds a sentence; all sentences of a thousand differ from one another.
    """

    def __init__(self, random: Random) -> None:
        self._random = random

    def _one(self, words: tuple[str, ...]) -> str:
        return words[int(self._random.random() * len(words))]

    def sentence(self) -> str:
        """Make one sentence, with its full stop."""
        thing, kind = self._one(_THINGS), self._one(_KINDS)
        article = "an" if kind[0] in "aeiou" else "a"
        person = self._one(_PEOPLE)
        text = self._one(_LINKS) + self._one(_SHAPES).format(
            P=person,
            p=person,
            d=self._one(_DEEDS),
            k=f"{article} {kind}",
            t=thing,
            l=self._one(_PLACES),
            w=self._one(_WAYS),
            r=self._one(_REASONS),
            n=int(self._random.random() * 88) + 2,
            y=int(self._random.random() * 160) + 1860,
        )
        return text[0].upper() + text[1:] + "."

    def tokens(self) -> Iterator[str]:
        """Words with the space before them and marks, as a tokenizer cuts them; endless."""
        before = ""
        while True:
            for _ in range(3 + int(self._random.random() * 4)):
                for word in self.sentence().split(" "):
                    stem = word.rstrip(".,;")
                    yield before + stem
                    if stem != word:
                        yield word[len(stem) :]
                    before = " "
            yield "\n\n"
            before = ""
