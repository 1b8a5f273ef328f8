"""How likely a language model finds each of several answers to a question, computing what they share only once.

The questions and their answers are laid over each other as a tree of tokens, so that the examples of an 8-shot prompt,
which all questions begin with, and the question, which all its answers begin with, stand there once. The tree is
computed in depth-first order, a few hundred tokens a pass: a token attends to its ancestors, of which those of earlier
passes are in the KV cache (tree attention as in SpecInfer, arXiv 2305.09781). Like `language_model`, this loads torch.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from llm_assets.language_model import answer_losses
from resources.errors import ModelError

Question = tuple[list[int], list[list[int]]]
"""Token ids of what comes before, and those of each answer."""

PASS_TOKENS = 256
"""Tokens of one pass, at most: among more, attention is mostly computed to be masked; fewer read the weights too often.
"""


def choice_losses(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    batch_size: int,
    progress: Callable[[int], Any] | None = None,
) -> list[list[float]]:
    """Summed negative log-likelihood, in nats, of the tokens of each answer after its question; order kept.

    Args:
        tokenizer: only for models whose attention can't follow a tree: they get every answer as a text of its own.
        batch_size: questions that go through the model together, at most.
        progress: called with the number of questions just finished.

    Raises:
        ModelError: a question or an answer without tokens.
    """
    if any(not prefix or not all(branches) for prefix, branches in questions):
        raise ModelError("a question or one of its answers has no tokens, so there is no likelihood to measure.")
    if not _follows_trees(model, max((_length(question) for question in questions), default=0)):
        return _one_by_one(model, tokenizer, questions, batch_size, progress)
    losses = [[0.0] * len(branches) for _, branches in questions]
    tree = _Tree()
    order = sorted(range(len(questions)), key=lambda index: questions[index][0])
    ends = [tree.add_question(index, *questions[index]) for index in order]
    walk = _Walk(model, tree)
    for first in range(0, len(ends), batch_size):
        batch = ends[first : first + batch_size]
        for question, branch, loss in walk.to(batch[-1]):
            losses[question][branch] += loss
        if progress:
            progress(len(batch))
    return losses


class _Tree:
    """Token sequences laid over each other; the nodes are numbered depth first."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        """-1 for the first token of a sequence."""
        self.depths: list[int] = []
        self.targets: list[tuple[int, int, int, int]] = []
        """(node, token whose likelihood after this node is wanted, question, branch)."""
        self._line: list[int] = []
        """The sequence added last, and its nodes."""
        self._path: list[int] = []

    def add_question(self, index: int, prefix: list[int], branches: list[list[int]]) -> int:
        """Add a question with its answers, as far as the last sequence does not hold them; returns the size so far."""
        for number in sorted(range(len(branches)), key=branches.__getitem__):
            branch = branches[number]
            self._add(prefix + branch[:-1])  # nothing comes after an answer's last token
            nodes = self._path[len(prefix) - 1 :]
            self.targets += [(node, token, index, number) for node, token in zip(nodes, branch, strict=True)]
        return len(self.tokens)

    def ancestors(self, node: int) -> list[int]:
        """The nodes from a first token to the parent; those of the end are none."""
        found: list[int] = []
        parent = self.parents[node] if node < len(self.parents) else -1
        while parent >= 0:
            found.append(parent)
            parent = self.parents[parent]
        return found[::-1]

    def _add(self, sequence: list[int]) -> None:
        shorter = min(len(sequence), len(self._line))
        shared = bisect_left(range(shorter), True, key=lambda last: self._line[: last + 1] != sequence[: last + 1])
        del self._path[shared:]
        for token in sequence[shared:]:
            self.parents.append(self._path[-1] if self._path else -1)
            self.depths.append(len(self._path))
            self._path.append(len(self.tokens))
            self.tokens.append(token)
        self._line = sequence


class _Walk:
    """A model on its way through a tree. The cache holds the ancestors of the next node, so node of depth d at d."""

    def __init__(self, model: Any, tree: _Tree) -> None:
        self.model = model
        self.tree = tree
        self.targets = sorted(tree.targets)
        self.cache = transformers.DynamicCache()
        self.cached = 0
        """Columns of the cache."""
        self.next = 0

    def to(self, end: int) -> Iterator[tuple[int, int, float]]:
        """Compute up to this node; yields (question, branch, nats of one token)."""
        passes = -(-(end - self.next) // PASS_TOKENS)
        first = self.next
        for number in range(1, passes + 1):  # of even size: a short last one would read all weights for little
            yield from self._one_pass(first + (end - first) * number // passes)

    @torch.inference_mode()
    def _one_pass(self, end: int) -> list[tuple[int, int, float]]:
        start, tree = self.next, self.tree
        low, high = (bisect_left(self.targets, (node,)) for node in (start, end))
        wanted = self.targets[low:high]
        nodes = sorted({node for node, *_ in wanted})
        logits = self.model(
            input_ids=torch.tensor([tree.tokens[start:end]]),
            position_ids=torch.tensor([tree.depths[start:end]]),
            attention_mask=self._mask(end),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=torch.tensor([node - start for node in nodes], dtype=torch.long),
        ).logits[0]
        self._keep_ancestors(end)
        row = {node: number for number, node in enumerate(nodes)}
        rows = torch.tensor([row[node] for node, *_ in wanted], dtype=torch.long)
        tokens = torch.tensor([token for _, token, *_ in wanted], dtype=torch.long)
        logits = logits.float()
        losses = (logits.logsumexp(-1)[rows] - logits[rows, tokens]).tolist()
        return [(question, branch, loss) for (*_, question, branch), loss in zip(wanted, losses, strict=True)]

    def _mask(self, end: int) -> torch.Tensor:
        """What each node up to `end` attends to, shape [1, 1, nodes, cached + nodes]: 0 for an ancestor and itself."""
        start, tree = self.next, self.tree
        seen = np.zeros((end - start, self.cached + end - start), dtype=bool)
        for row, node in enumerate(range(start, end)):
            parent = tree.parents[node]
            if parent >= start:
                seen[row] = seen[parent - start]
            else:
                seen[row, : tree.depths[node]] = True
            seen[row, self.cached + row] = True
        hidden = torch.finfo(self.model.dtype).min
        return torch.zeros(seen.shape, dtype=self.model.dtype).masked_fill_(torch.from_numpy(~seen), hidden)[None, None]

    def _keep_ancestors(self, end: int) -> None:
        """Go on to node `end`: cut the cache down to its ancestors."""
        start, tree = self.next, self.tree
        path = tree.ancestors(end)
        columns = [self.cached + node - start if node >= start else tree.depths[node] for node in path]
        if columns != list(range(self.cached + end - start)):
            select = torch.tensor(columns, dtype=torch.long)
            for layer in self.cache.layers:
                layer.keys, layer.values = layer.keys[:, :, select], layer.values[:, :, select]
        self.cached, self.next = len(path), end


def _follows_trees(model: Any, longest: int) -> bool:
    """Whether attention takes any mask, and a layer keeps the keys and values of all tokens and nothing else."""
    if model.config._attn_implementation not in ("sdpa", "eager"):
        return False
    layers = transformers.DynamicCache(config=model.config).layers
    return all(
        type(layer) is DynamicLayer
        or (type(layer) is DynamicSlidingWindowLayer and longest <= layer.sliding_window)  # a window around everything
        for layer in layers
    )


def _one_by_one(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    batch_size: int,
    progress: Callable[[int], Any] | None,
) -> list[list[float]]:
    texts = [(prefix + branch, len(prefix)) for prefix, branches in questions for branch in branches]
    measured = iter(answer_losses(model, tokenizer, texts, batch_size))
    if progress:
        progress(len(questions))
    return [[next(measured)[0] for _ in branches] for _, branches in questions]


def _length(question: Question) -> int:
    prefix, branches = question
    return len(prefix) + max(map(len, branches), default=0)
