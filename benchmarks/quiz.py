"""Questions that are the same on every machine: arithmetic in words, eight solved ones in front, four answers each."""

import random
from dataclasses import dataclass

SHOTS = 8
NAMES = ("Amina", "Bruno", "Chen", "Dora", "Emil", "Farah", "Gita", "Hugo", "Ines", "Jonas")
THINGS = ("apples", "books", "candles", "drawings", "envelopes", "flowers", "marbles", "stamps")
PLACES = ("at the market on Monday", "from a neighbour", "behind the old house", "in a shop by the river")


@dataclass(frozen=True)
class Item:
    """One multiple-choice question."""

    question: str
    answers: list[str]
    right: int


def shots(items: list[Item]) -> str:
    """Solved questions, to be put before others."""
    return "".join(f"{item.question}{item.answers[item.right]}\n\n" for item in items)


def quiz(size: int, seed: int = 0) -> list[Item]:
    """That many questions; another seed gives others."""
    chance = random.Random(seed)
    return [_item(chance) for _ in range(size)]


def _item(chance: random.Random) -> Item:
    name, other = chance.sample(NAMES, 2)
    thing, place = chance.choice(THINGS), chance.choice(PLACES)
    first, more, gone = chance.randint(12, 60), chance.randint(3, 40), chance.randint(2, 12)
    question = (
        f"Question: {name} has {first} {thing} and gets {more} more {place}. Then {other} takes {gone} of them. "
        f"How many {thing} does {name} have now?\nAnswer:"
    )
    total = first + more - gone
    answers = [f" {name} has {number} {thing} now." for number in (total, total + 10, total - 1, first + more + gone)]
    chance.shuffle(answers)
    return Item(question, answers, answers.index(f" {name} has {total} {thing} now."))
