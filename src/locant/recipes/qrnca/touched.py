"""What boosting and suppressing neurons does to the answers of their own questions, and to those of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from jaxtyping import Float
from torch import Tensor

from locant.evaluations.rows import letters_by_row
from locant.evaluations.sets import Touched
from locant.models import LanguageModel
from locant.queries.choice import ChoicePrompt
from locant.recipes.qrnca.cases import Case
from locant.recipes.qrnca.chosen import Sets
from locant.recipes.qrnca.plan import OPERATIONS
from locant.selections.random_sets import is_matched
from locant.types import Selection

Letters = Mapping[str, Float[Tensor, " letter"]]
"""By a prompt's uid, the probabilities of the letters before anything is touched."""


def touch(lm: LanguageModel, asked: Sequence[Case], sets: Mapping[str, Sets], letters: Letters) -> pl.DataFrame:
    """Every method's neurons, boosted and suppressed while related and unrelated prompts are asked: a row each.

    Args:
        sets: by part.
    """
    told = [
        (case, method, draw, kind, prompt, named[case.name])
        for case in asked
        for method, draws in sets[case.part].items()
        for draw, named in enumerate(draws)
        for kind, prompts in (("related", case.related), ("unrelated", case.unrelated))
        for prompt in prompts
    ]
    # Methods often choose the same neurons, which need not be touched twice
    once: dict[tuple[str, bytes], Touched] = {}
    for *_, prompt, chosen in told:
        once.setdefault(_key(prompt, chosen), Touched(prompt.query, chosen))
    place = {key: number for number, key in enumerate(once)}
    table: list[dict[str, object]] = []
    for operation, by in OPERATIONS.items():
        after = letters_by_row(lm, list(once.values()), by, asked[0].related[0].letters).tolist()
        for case, method, draw, kind, prompt, chosen in told:
            table.append(
                {
                    "method": method,
                    "draw": draw,
                    "evaluation": case.evaluation,
                    "part": case.part,
                    "operation": operation,
                    "question": case.owner.uid,
                    "fact": case.owner.fact,
                    "group": case.owner.group,
                    "asked": kind,
                    "prompt": prompt.query.uid,
                    "size": len(chosen),
                    "matched": is_matched(chosen),
                    "right": prompt.right,
                    "letters_before": letters[prompt.query.uid].tolist(),
                    "letters_after": after[place[_key(prompt, chosen)]],
                }
            )
    return pl.DataFrame(table)


def _key(prompt: ChoicePrompt, chosen: Selection) -> tuple[str, bytes]:
    return prompt.query.uid, chosen.units.numpy().tobytes()
