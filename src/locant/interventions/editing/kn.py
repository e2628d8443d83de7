"""Knowledge neurons edited: the value vectors of a fact's neurons rewritten from its old object to the new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from locant.attributions import attribute
from locant.errors import BadQuery, LocantError, UnknownName
from locant.interventions.editing.editor import Editor, Note, Rewrite, taken
from locant.interventions.edits import erase, update
from locant.models import LanguageModel
from locant.selections import select
from locant.types import EditRequest, Selection, Setting

OPERATIONS = ("update", "erase")


def kn(
    lm: LanguageModel,
    *,
    operation: str = "update",
    target: Selection | Mapping[str, Selection] | None = None,
    localizer: str = "dai",
    share: float = 0.2,
    lambda1: float = 2.0,
    lambda2: float = 2.0,
    signs: bool = True,
) -> Editor:
    """Rewrite the value vectors of a fact's neurons: v <- v - lambda1 |v| e(old) + lambda2 |v| e(new).

    Args:
        operation: 'update', or 'erase': v <- 0.
        target: the neurons; of each request by its uid, or one set for all. None locates them with the old object.
        localizer: the attribution that locates.
        share: of the highest score; neurons with more are located.
        lambda1, lambda2: in lengths of a value vector; e are unit output embeddings of the first tokens.
        signs: turn the step round for neurons that are active below zero.

    Raises:
        UnknownName: no such operation.
        BadQuery: the query has no old object, or both objects begin with one token.

    Source: Dai et al. 2022, arXiv:2104.08696, sections 4 and 5. EasyEdit has -2 E(old) + 2 E(new), E the input's.
    """
    if operation not in OPERATIONS:
        raise UnknownName(f"no operation {operation!r}; there are {', '.join(OPERATIONS)}")

    def rewrite(requests: Sequence[EditRequest]) -> Rewrite:
        (request,) = requests
        query = request.query
        if not query.answer:
            raise BadQuery(f"query {query.uid!r}: knowledge neurons are of a known object, and none is given")
        located = attribute(lm, [query], localizer if target is None else "activation")
        chosen = _target(target, request) if target is not None else select(located, "share", share=share)
        about: Note = {"uid": request.uid, "neurons": len(chosen)}
        if not len(chosen):
            return Rewrite({}, [about])
        activations = located.activations[0] if signs else None
        changed = (
            erase(lm, chosen)
            if operation == "erase"
            else update(lm, chosen, query, request.new, lambda1=lambda1, lambda2=lambda2, activations=activations)
        )
        return Rewrite(taken(lm, changed, [lm.downs[layer] for layer in chosen.by_layer()]), [about])

    settings: dict[str, Setting] = {"operation": operation, "lambda1": lambda1, "lambda2": lambda2, "signs": signs}
    if target is None:
        settings |= {"localizer": localizer, "share": share}
    else:
        sets = [target] if isinstance(target, Selection) else list(target.values())
        settings["target"] = ", ".join(dict.fromkeys(one.made_by.digest() for one in sets))
    return Editor(settings, rewrite, at_once=1)


def _target(target: Selection | Mapping[str, Selection], request: EditRequest) -> Selection:
    if isinstance(target, Selection):
        return target
    if request.uid not in target:
        raise LocantError(f"no neurons were given for {request.uid!r}")
    return target[request.uid]
