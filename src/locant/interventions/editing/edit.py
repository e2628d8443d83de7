"""Facts rewritten in the weights while a context lasts, by any method, all at once or one after another."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import Parameter
from pathlib import Path

from torch import Tensor

from locant.errors import NoNumber, UnknownName, nearest
from locant.interventions.editing.editor import Editor, Note, Rewrite
from locant.interventions.editing.methods import METHODS
from locant.interventions.editing.one_layer import each_in_its_place
from locant.interventions.editing.saved import save_model, save_weights
from locant.interventions.editing.trained import losses_after
from locant.models import LanguageModel
from locant.models.rewriting import Rewriting, held, rewriting
from locant.types import EditRequest, Provenance, digest_of

AT_ONCE = 64
"""Requests whose losses are read in one pass."""


class Edit:
    """An edited model, while the context of `edit` lasts.

    Attributes:
        settings: of the method, every one with the value it has for this model.
        requests: what has been rewritten so far, in order.
        notes: what the method measured, one or more for each request.
        seconds: that the edits took, on the wall clock.
    """

    def __init__(self, lm: LanguageModel, editor: Editor, weights: Rewriting) -> None:
        self.lm = lm
        self.method = editor.method
        self.settings = editor.settings
        self.requests: list[EditRequest] = []
        self.notes: list[Note] = []
        self.seconds = 0.0
        self._editor = editor
        self._weights = weights

    def add(self, requests: Sequence[EditRequest], batch: int | None = None) -> None:
        """Rewrite more facts, in the model as it is now.

        A request whose new object the model says already is left alone, and its note has 0 steps: one where, after
        the prompt as it is, the mean of -ln P over the object's tokens is below the loss that the method stops at.
        Published methods rewrite it all the same, for contexts in which the model is less sure. Ours.

        Args:
            batch: how many are rewritten together; None for as many as the method takes.

        Raises:
            BadQuery: a request cannot be made of this model.
            UnknownName: the method does not rewrite so many together.
            NoNumber: a loss or a new weight is none.
            LocantError: the method fails at a request.

        Whatever is raised, all is then as before the call: no request of it has been rewritten.
        """
        for one in requests:
            self.lm.tokens(one.asked)
        most = self._editor.at_once or max(1, len(requests))
        size = most if batch is None else batch
        if size < 1 or (self._editor.at_once and size > most):
            raise UnknownName(f"{self.method} rewrites at most {most} facts together, and at least 1, not {size}")
        start = time.perf_counter()
        with self._all_or_nothing() as replaced:
            for first in range(0, len(requests), size):
                some = requests[first : first + size]
                settled = self._settled(some)
                left = [one for one, loss in zip(some, settled, strict=True) if loss is None]
                found = self._editor.rewrite(left) if left else Rewrite({})
                _refuse_no_numbers(self.method, found)
                replaced |= held(self.lm.model, [name for name in found.weights if name not in replaced])
                self._weights.write(found.weights)
                self._editor = found.then or self._editor
                self.requests += some
                self.notes += _in_order(some, settled, found.notes)
        self.seconds += time.perf_counter() - start

    def _settled(self, requests: Sequence[EditRequest]) -> list[float | None]:
        """The losses of requests that are as they should be before any rewriting; None for the others."""
        stop_at = self.settings.get("stop_at")
        # What was found elsewhere is written whatever the model says
        if not isinstance(stop_at, int | float) or "values" in self.settings:
            return [None] * len(requests)
        losses = losses_after(self.lm, requests, each_in_its_place, AT_ONCE)
        return [loss if loss < stop_at else None for loss in losses]

    @contextmanager
    def _all_or_nothing(self) -> Iterator[dict[str, Tensor]]:
        """If what is done within raises, the weights that it put aside are put back, with no record of it."""
        replaced: dict[str, Tensor] = {}
        editor, requests, notes = self._editor, len(self.requests), len(self.notes)
        try:
            yield replaced
        except BaseException:
            self._weights.write(replaced)
            self._editor = editor
            del self.requests[requests:], self.notes[notes:]
            raise

    @property
    def made_by(self) -> Provenance:
        """The method with its settings, and a digest of what it was asked for."""
        asked = [[one.asked.prompt, one.subject, one.new] for one in self.requests]
        digest = digest_of(json.dumps(asked))
        return self.lm.provenance(self.method, {**self.settings, "edits": len(asked), "requests": digest})

    def save_model(self, folder: Path) -> Path:
        """Write the edited model and its tokenizer, as `from_pretrained` reads them, with `edit.json` beside.

        Raises:
            BadFile: the folder holds something already, or cannot be written to.
        """
        return save_model(self.lm, folder, self.made_by, self.requests)

    def save_weights(self, path: Path) -> Path:
        """Write only the matrices that were changed, as safetensors; `apply_weights` puts them into the model again.

        Raises:
            BadFile: the file cannot be written.
        """
        return save_weights(self.lm, path, self._weights.before, self.made_by)


@contextmanager
def edit(
    lm: LanguageModel,
    requests: Sequence[EditRequest],
    method: str | Editor = "rome",
    *,
    batch: int | None = None,
    **settings: object,
) -> Iterator[Edit]:
    """Rewrite facts in a model's weights while the context lasts; on exit every byte is as before.

        with locant.edit(lm, [locant.edit_request("The capital of France is", "France", "Rome")]) as edited:
            print(lm.generate("France has its capital at"))
            edited.save_model(Path("edited"))

    Args:
        requests: what to rewrite; more can be added by `Edit.add`.
        method: a name in `METHODS`, or what `prepare` gave: nothing is then read of the model anew.
        batch: how many are rewritten together; None for as many as the method takes.
        settings: the method's own keyword-only parameters, if it is named.

    Raises:
        UnknownName: no such method, setting, or value of one.
        BadQuery: a request cannot be made of this model.
        LocantError: the model's weights cannot be changed, or the method does not fit the model.
    """
    if isinstance(method, Editor):
        if settings:
            raise UnknownName(f"this editor has its settings already; {', '.join(settings)} cannot be given any more")
        editor = method
    else:
        editor = prepare(lm, method, settings)
    with rewriting(lm.model) as weights:
        edited = Edit(lm, editor, weights)
        edited.add(requests, batch)
        yield edited


def prepare(lm: LanguageModel, method: str, settings: Mapping[str, object]) -> Editor:
    """A method with its settings, resolved for a model; where it needs statistics of the model they are read here.

    Raises:
        UnknownName: no such method, setting, or value of one.
        LocantError: the method does not fit the model.
    """
    known = editing_settings(method)
    for name in settings:
        if name not in known:
            raise UnknownName(
                f"{method} has no setting {name!r}{nearest(name, known)}; it has {', '.join(known) or 'none'}"
            )
    return replace(METHODS[method](lm, **settings), method=method)


def _in_order(requests: Sequence[EditRequest], settled: Sequence[float | None], notes: Sequence[Note]) -> list[Note]:
    """The notes of requests in their order; those that were left alone have one of their own."""
    alone: list[Note] = [
        {"uid": one.uid, "loss": loss, "steps": 0, "change": 0.0}
        for one, loss in zip(requests, settled, strict=True)
        if loss is not None
    ]
    places = {one.uid: place for place, one in enumerate(requests)}
    return sorted([*alone, *notes], key=lambda note: places.get(str(note["uid"]), len(places)))


def _refuse_no_numbers(method: str, found: Rewrite) -> None:
    for name, values in found.weights.items():
        if not bool(values.isfinite().all()):
            raise NoNumber(f"{method} makes weights of {name} that are no numbers: take a lower rate")


def editing_settings(method: str) -> dict[str, Parameter]:
    """The keyword-only parameters of a method: its settings, with their defaults.

    Raises:
        UnknownName: no such method.
    """
    if method not in METHODS:
        raise UnknownName(f"no editing method {method!r}{nearest(method, METHODS)}; there are {', '.join(METHODS)}")
    parameters = inspect.signature(METHODS[method]).parameters
    return {name: one for name, one in parameters.items() if one.kind is Parameter.KEYWORD_ONLY}
