"""QRNCA: the neurons behind answers of any length, found through multiple choice.

The method and experiments of Chen, Dejl and Toni 2025, arXiv:2406.10868, with controls: query-relevant neurons by
inverse cluster attribution, beside the paper's baselines and ablations, judged in-sample as the paper does and on
templates and questions that nothing was located with.

    from locant.recipes.qrnca import Plan, run_qrnca
    run_qrnca(lm, questions, folder, Plan(), source="almanac")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from locant.errors import UnknownName
from locant.models import LanguageModel
from locant.queries.choice import ChoiceQuestion
from locant.recipes.qrnca.asked import refuse_unfit
from locant.recipes.qrnca.cases import partners
from locant.recipes.qrnca.plan import METHODS, Plan
from locant.recipes.qrnca.work import QrncaWork
from locant.recipes.work import Data, Say, manifest_of, say_nothing
from locant.sweeps import RunFolder

__all__ = ["METHODS", "Plan", "run_qrnca"]


def run_qrnca(
    lm: LanguageModel,
    questions: Sequence[ChoiceQuestion],
    folder: Path,
    plan: Plan,
    *,
    source: str,
    drawn: Mapping[str, object] | None = None,
    say: Say = say_nothing,
) -> Path:
    """Run every experiment into a folder; what is there already is not computed again.

    Args:
        questions: of two groups or more, all with the same letters and as many prompts.
        source: where the questions come from, for the manifest.
        drawn: and how they were drawn from it (settings of `select_choices`).
        say: for progress.

    Returns:
        The folder.

    Raises:
        BadQuery: a question cannot be asked of this model in some way that the run will ask it; nothing has been
            written then.
        UnknownName: there are too few questions, or they do not go together.
        BadFile: the folder holds another run.
    """
    _refuse(lm, questions, plan)
    run = RunFolder(folder)
    manifest = manifest_of("qrnca", lm, _data(questions, source, drawn), plan.plain())
    run.check(manifest)
    run.open(manifest)
    work = QrncaWork(lm, run, manifest, say, questions, plan)
    letters = work.ask()
    located = work.locate()
    sets = work.choose(located)
    work.count(located, sets)
    work.judge(sets, letters)
    work.predict(located, letters)
    run.finish(manifest)
    return folder


def _refuse(lm: LanguageModel, questions: Sequence[ChoiceQuestion], plan: Plan) -> None:
    groups = {question.group for question in questions}
    if len(groups) < 2:
        raise UnknownName(
            f"questions of one group are compared with those of others, and all {len(questions)} are of "
            f"{groups.pop()!r}; name their groups in a column 'group', or take more of them"
            if groups
            else "there are no questions"
        )
    letters = sorted({len(prompt.letters) for question in questions for prompt in question.prompts})
    if len(letters) != 1:
        raise UnknownName(
            f"a run takes questions with equally many options; these have {letters[0]} to {letters[-1]}"
        )
    counts = sorted({len(question.prompts) for question in questions})
    if len(counts) != 1:
        raise UnknownName(f"a run takes questions in equally many templates; these have {counts[0]} to {counts[-1]}")
    other = partners(questions, plan.seed)
    alone = next((question.uid for question in questions if question.uid not in other), None)
    if alone is not None:
        raise UnknownName(f"question {alone!r} has none beside it that is of another group and of another fact")
    for question in questions:
        refuse_unfit(lm, question)


def _data(questions: Sequence[ChoiceQuestion], source: str, drawn: Mapping[str, object] | None) -> Data:
    counts = {"questions": len(questions), "prompts": sum(len(question.prompts) for question in questions)}
    text = repr([[prompt.query for prompt in question.prompts] for question in questions])
    return Data(source, drawn, counts, text)
