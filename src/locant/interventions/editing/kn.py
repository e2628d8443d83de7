"""Knowledge neurons edited: the value vectors of a fact's neurons rewritten from its old object to the new one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from locant.attributions import attribute
from locant.errors import BadQuery, UnknownName
from locant.interventions.editing.editor import Editor, Note, Rewrite, taken
from locant.interventions.editing.targets import Neurons, Target
from locant.interventions.edits import erase, move
from locant.models import LanguageModel
from locant.types import EditRequest, Selection, Setting

CHOICES = {
    "operation": ("update", "erase"),
    "embeddings": ("input", "output"),
    "away": ("old", "said"),
    "tokens": ("first", "all"),
}


def kn(
    lm: LanguageModel,
    *,
    operation: str = "update",
    target: Target = None,
    localizer: str = "dai",
    share: float = 0.2,
    rule: str | None = None,
    points: int | None = None,
    lambda1: float = 0.5,
    lambda2: float = 0.5,
    scaled: bool = True,
    signs: bool = True,
    embeddings: str = "output",
    away: str = "old",
    tokens: str = "first",
) -> Editor:
    """Rewrite the value vectors of a fact's neurons: v <- v - lambda1 |v| e(old) + lambda2 |v| e(new).

    A fact without neurons is left as it is; its note says that there are 0.

    The released code that editing benchmarks run is `kn(rule="inclusive", points=20, embeddings="input",
    away="said", tokens="all", scaled=False, signs=False, lambda1=2, lambda2=2)`. It multiplies by 2 only what is one
    token, and not a list of one, as GPT-2's objects are: for them, and for objects of several tokens, lambda2 is 1.
    Its configuration for Llama has 1 point, and takes the gradient where all neurons are 0.

    The defaults of both lambdas are by trial, on the almanac: with twice as much no more wordings have the new
    object, and more than twice as many of the relation's other facts are said otherwise.

    Args:
        operation: 'update', or 'erase': v <- 0.
        target: the neurons; of each request by its uid, or one set for all. None locates them with the old object.
        localizer: the attribution that locates.
        share: of the highest score; neurons with as much are located.
        rule, points: of the localizer's quadrature; None for its own.
        lambda1, lambda2: in lengths of a value vector.
        scaled: e are of unit length; otherwise embeddings are added as they are, without |v|.
        signs: turn the step round for neurons that are active below zero.
        embeddings: whose rows e are.
        away: what the vectors are moved away from: the fact's 'old' object, or what the model has 'said' first.
        tokens: of an object, its 'first', or the sum of 'all' of them.

    Raises:
        UnknownName: a setting has no such value.
        BadQuery: the query has no old object, or both objects have the same tokens.
        LocantError: neurons are given for other requests only, or embeddings do not fit value vectors.

    Source: Dai et al. 2022, arXiv:2104.08696, sections 4 and 5. Released: EleutherAI/knowledge-neurons as
    kmeng01/rome and zjunlp/EasyEdit have it.
    """
    settings: dict[str, Setting] = {
        "operation": operation,
        "embeddings": embeddings,
        "away": away,
        "tokens": tokens,
        "lambda1": lambda1,
        "lambda2": lambda2,
        "scaled": scaled,
        "signs": signs,
    }
    for name, known in CHOICES.items():
        if settings[name] not in known:
            raise UnknownName(f"no {name} {settings[name]!r}; there are {', '.join(known)}")
    neurons = Neurons(target, localizer, share, rule, points)

    def updated(request: EditRequest, chosen: Selection) -> AbstractContextManager[None]:
        known = request.query if request.query.answer else request.asked
        return move(
            lm,
            chosen,
            *_tokens(lm, request, away, tokens),
            embeddings=embeddings,
            lambda1=lambda1,
            lambda2=lambda2,
            scaled=scaled,
            activations=attribute(lm, [known], "activation").activations[0] if signs else None,
        )

    def rewrite(requests: Sequence[EditRequest]) -> Rewrite:
        (request,) = requests
        (chosen,) = neurons.of(lm, requests)
        about: Note = {"uid": request.uid, "neurons": len(chosen)}
        if not len(chosen):
            return Rewrite({}, [about])
        changed = erase(lm, chosen) if operation == "erase" else updated(request, chosen)
        return Rewrite(taken(lm, changed, [lm.downs[layer] for layer in chosen.by_layer()]), [about])

    return Editor(settings | neurons.settings(), rewrite, at_once=1)


def _tokens(lm: LanguageModel, request: EditRequest, away: str, tokens: str) -> tuple[list[int], list[int]]:
    """What value vectors are moved away from, and what towards."""
    count = 1 if tokens == "first" else None
    new = lm.tokens(request.asked)
    towards = list(new.answers[0][:count])
    if away == "said":
        return [int(lm.site_logits(lm.sites([(new, new.answers[0][:1])]))[0].argmax())], towards
    if not request.query.answer:
        raise BadQuery(f"query {request.uid!r}: it has no old object to move away from: say it, or away='said'")
    old = list(lm.tokens(request.query).answers[0][:count])
    if old == towards:
        raise BadQuery(
            f"query {request.uid!r}: {request.query.answer!r} and {request.new!r} begin with the same token, "
            f"{lm.text_of(old)!r}, and an edit knows objects by their first: give tokens='all'"
        )
    return old, towards
