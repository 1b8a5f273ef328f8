"""Which examples an optimiser step sees, and how fast it learns: everything about order, decided by the seed."""

import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def batches(examples: Sequence[T], batch_size: int, seed: int) -> Iterator[list[T]]:
    """Endless batches: every example once per epoch, in a new order each; the last batch of an epoch is filled from
    the next one."""
    source = random.Random(seed)
    pending: list[T] = []
    while True:
        epoch = list(examples)
        source.shuffle(epoch)
        pending += epoch
        while len(pending) >= batch_size:
            yield pending[:batch_size]
            pending = pending[batch_size:]


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """Linear warm-up to `peak` over `warmup` steps, then linear decay to zero; `step` counts from 0."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (steps - step) / max(steps - warmup, 1)
