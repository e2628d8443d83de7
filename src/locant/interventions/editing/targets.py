"""Which neurons a request is about: given, or located with the fact's old object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from locant.attributions import attribute
from locant.errors import BadQuery, LocantError
from locant.models import LanguageModel
from locant.selections import select
from locant.types import EditRequest, Selection, Setting

Target: TypeAlias = Selection | Mapping[str, Selection] | None
"""The neurons of all requests, or of each by its uid; None to locate them."""


@dataclass(frozen=True)
class Neurons:
    """Where the neurons of requests are taken from.

    Attributes:
        target: the neurons; None locates them.
        localizer: the attribution that locates.
        share: of the highest score; neurons with as much are located.
        rule, points: of the localizer's quadrature, and None for its own.
    """

    target: Target
    localizer: str
    share: float
    rule: str | None = None
    points: int | None = None

    def of(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> list[Selection]:
        """The neurons of each request; none where none are located.

        Raises:
            BadQuery: a request has no old object to locate.
            LocantError: neurons are given, but not for every request.
            UnknownName: no such localizer, or it has no such setting.
        """
        if self.target is not None:
            return [_given(self.target, request) for request in requests]
        for request in requests:
            if not request.query.answer:
                raise BadQuery(
                    f"query {request.uid!r}: the neurons of a known object are located, and none is given: say what "
                    "the model holds true now, or give the neurons"
                )
        own: dict[str, Setting] = {"rule": self.rule, "steps": self.points}
        given = {name: value for name, value in own.items() if value is not None}
        located = attribute(lm, [one.query for one in requests], self.localizer, **given)  # type: ignore[arg-type]
        return [select(one, "share", share=self.share) for one in located]

    def settings(self) -> dict[str, Setting]:
        """What an editor says of its neurons; of given ones, how they were made."""
        if self.target is None:
            return {"localizer": self.localizer, "share": self.share, "rule": self.rule, "points": self.points}
        sets = [self.target] if isinstance(self.target, Selection) else list(self.target.values())
        return {"target": ", ".join(dict.fromkeys(one.made_by.digest() for one in sets))}


def _given(target: Selection | Mapping[str, Selection], request: EditRequest) -> Selection:
    if isinstance(target, Selection):
        return target
    if request.uid not in target:
        raise LocantError(f"no neurons were given for {request.uid!r}")
    return target[request.uid]
