"""The model behind the runtime: one base, many adapters, one thread that does all the work.

Requests for the same adapter that wait together go through the model together (micro-batches); loading and unloading
take their turn in the same queue, so no answer ever sees a half-loaded adapter. Nothing here knows HTTP.
"""

import itertools
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from llm_assets import language_model
from llm_assets.serving.decoding import Generation, Progress, decode
from resources.errors import ModelError, ServingError


@dataclass(eq=False)
class _Command:
    work: Callable[[], None]
    done: "Future[None]" = field(default_factory=Future)


class Engine:
    """Loads the base at once, then serves from its thread until the process ends."""

    def __init__(self, base: Path, batch_size: int = 8, maximum_waiting: int = 256) -> None:
        self.base, self.batch_size, self.maximum_waiting = base, batch_size, maximum_waiting
        self.tokenizer = language_model.load_tokenizer(base)
        self.model = language_model.load_model(base)
        self.context_length = int(getattr(self.model.config, "max_position_embeddings", 0)) or 2048
        self.adapters: dict[str, Path] = {}
        self._internal: dict[str, str] = {}  # torch allows no dot in a module's name
        self._numbers = itertools.count()
        self._queue: deque[Generation | _Command] = deque()
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the engine still works."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    def submit(self, generation: Generation) -> None:
        """Queue one answer.

        Raises:
            ServingError: too many are waiting.
        """
        with self._wake:
            if len(self._queue) >= self.maximum_waiting:
                raise ServingError(f"{len(self._queue)} requests are waiting; ask again later.")
            self._queue.append(generation)
            self._wake.notify()

    def load(self, name: str, folder: Path) -> "Future[None]":
        """Attach an adapter; fails with ModelError and changes nothing if it does not fit."""
        return self._command(lambda: self._load(name, folder))

    def unload(self, name: str) -> "Future[None]":
        """Drop an adapter after the requests that were queued before."""
        return self._command(lambda: self._unload(name))

    def _command(self, work: Callable[[], None]) -> "Future[None]":
        command = _Command(work)
        with self._wake:
            self._queue.append(command)
            self._wake.notify()
        return command.done

    def _work(self) -> None:
        while True:
            batch = self._next()
            try:
                if isinstance(batch, _Command):
                    batch.work()
                    batch.done.set_result(None)
                else:
                    self._answer(batch)
            except Exception as error:  # noqa: BLE001 - the thread serves everyone: report to who asked, go on
                if not isinstance(error, ModelError):
                    traceback.print_exc(file=sys.stderr)
                if isinstance(batch, _Command):
                    batch.done.set_exception(error)
                else:
                    for generation in batch:
                        generation.emit(Progress(error=f"{type(error).__name__}: {error}"))

    def _next(self) -> "_Command | list[Generation]":
        """A command, or the first generation and those after it, up to the next command, with its adapter."""
        with self._wake:
            while not self._queue:
                self._wake.wait()
            head = self._queue.popleft()
            if isinstance(head, _Command):
                return head
            batch = [head]
            for item in list(itertools.takewhile(lambda item: isinstance(item, Generation), self._queue)):
                if isinstance(item, Generation) and item.adapter == head.adapter and len(batch) < self.batch_size:
                    batch.append(item)
                    self._queue.remove(item)
            return batch

    def _answer(self, batch: list[Generation]) -> None:
        name = batch[0].adapter
        if name and name not in self.adapters:  # unloaded while they waited
            raise ModelError(f"adapter {name} is not loaded.")
        batch = [generation for generation in batch if not generation.cancelled]
        if batch:
            with self._using(name), torch.inference_mode():
                decode(self.model, self.tokenizer, batch)

    def _using(self, name: str) -> AbstractContextManager[Any]:
        if name:
            self.model.set_adapter(self._internal[name], inference_mode=True)
            return nullcontext()
        return self.model.disable_adapter() if self.adapters else nullcontext()

    def _load(self, name: str, folder: Path) -> None:
        if name in self.adapters:
            raise ModelError(f"adapter {name} is loaded already, from {self.adapters[name]}.")
        tensors = _tensor_names(folder)
        internal = f"a{next(self._numbers)}"
        try:
            self.model = language_model.attach_adapter(self.model, folder, internal)
            self._check_complete(tensors, folder, internal)
        except Exception:
            self._forget(internal)
            raise
        self.adapters[name], self._internal[name] = folder, internal

    def _check_complete(self, tensors: set[str], folder: Path, internal: str) -> None:
        """peft only warns about tensors that are missing or that the model has no place for."""
        import peft

        placed = set(peft.get_peft_model_state_dict(self.model, adapter_name=internal))
        if odd := sorted(placed ^ tensors):
            raise ModelError(
                f"adapter {folder} does not fit the base model: {len(odd)} tensors are missing or have no place, "
                f"the first is {odd[0]}; it was trained on another base model."
            )

    def _unload(self, name: str) -> None:
        if name not in self.adapters:
            raise ModelError(f"adapter {name} is not loaded.")
        del self.adapters[name]
        self._forget(self._internal.pop(name))

    def _forget(self, internal: str) -> None:
        """Bring the model back to where it was: the last adapter leaves a plain base model behind."""
        if self.adapters:
            keep = self._internal[next(iter(self.adapters))]
            self.model.set_adapter(keep, inference_mode=True)
            if internal in self.model.peft_config:
                self.model.delete_adapter(internal)
        else:  # half-injected layers can't be told from whole ones: read the base again
            self.model = language_model.load_model(self.base)


def _tensor_names(folder: Path) -> set[str]:
    """What the adapter's file holds, read from its header; peft leaves the `default` name of an adapter out."""
    from safetensors import SafetensorError, safe_open

    language_model.check_adapter(folder)
    path = folder / "adapter_model.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except (SafetensorError, OSError) as error:
        raise ModelError(f"adapter {path} is not a safetensors file ({' '.join(str(error).split())}).") from error
