"""What the run says, question by question; no answer says more than its controls allow."""

from __future__ import annotations

from locant.reports.answers import NO, UNMEASURED, YES, Answer, verdict
from locant.reports.means import LEAST
from locant.reports.numbers import count, points, portion, relative, share
from locant.reports.qrnca import editing, prediction
from locant.reports.qrnca.change import operations
from locant.reports.qrnca.letters import HALF, chance_of, does_answer, mass_of, right_of
from locant.reports.qrnca.names import (
    ABLATIONS,
    BESIDE,
    CHANCE,
    DOING,
    FULL,
    IN_SAMPLE,
    POOLS,
    QRNCA,
    RULES,
    name_of,
    where,
)
from locant.reports.qrnca.neurons import gap_in_words, has_blocks, overlaps, shuffled_in, why_questions
from locant.reports.qrnca.run import Run
from locant.reports.qrnca.terms import ratio_above, terms_of
from locant.reports.text import upper


def answers(run: Run) -> list[Answer]:
    """All of them, in the order of the page."""
    return [_letters(run), _moves(run), _beats(run), _own(run), _flips(run), _predicts(run)]


def headline(run: Run) -> str:
    """The title: both terms of the first operation, held out; or that the model does not answer in letters."""
    if does_answer(run) is False:
        return _silent(run)
    for evaluation in run.evaluations("ratios"):
        for operation in operations(run["ratios"]):
            found = terms_of(run, evaluation, operation)
            if found is not None:
                return (
                    f"{upper(where(evaluation))}, {DOING.get(operation, operation)} the neurons changes related "
                    f"answers by {relative(found.related.mean)}, unrelated ones by {relative(found.unrelated.mean)}"
                )
    return "What the neurons do to answers was not measured"


def _silent(run: Run) -> str:
    mass = mass_of(run["prompts"])
    if mass is not None and mass.mean < HALF:
        return f"The model does not answer in letters: they have {share(mass.mean)} of the probability"
    right = right_of(run["prompts"])
    found = share(right.mean) if right else "none"
    return f"The model does not answer in letters: {found} are right, chance is {share(chance_of(run))}"


def _letters(run: Run) -> Answer:
    question = "Does the model answer in letters?"
    right, mass, does = right_of(run["prompts"]), mass_of(run["prompts"]), does_answer(run)
    if right is None or mass is None:
        return Answer(question, UNMEASURED, "The table of prompts has no rows.")
    text = (
        f"Of the probability, {portion(mass)} is on the {run.options} letters, and {portion(right)} of the prompts "
        f"are answered right; chance is {share(chance_of(run))}."
    )
    if does:
        return Answer(question, YES, text)
    why = []
    if mass.mean < HALF:
        why.append("most of what it would say is no letter")
    if right.n < LEAST:
        why.append(f"{count(right.n)} {'fact is' if right.n == 1 else 'facts are'} too few to tell")
    elif right.low <= chance_of(run):
        why.append("that it is right more often than chance is not shown")
    return Answer(question, NO, f"{text} {upper(' and '.join(why))}: what follows says little of what it knows.")


def _moves(run: Run) -> Answer:
    question = "Do QRNCA’s neurons move related answers more than unrelated ones, held out?"
    signs, said = [], []
    for evaluation in run.held_out("ratios"):
        parts = []
        for operation in operations(run["ratios"]):
            found = terms_of(run, evaluation, operation)
            if found is not None:
                signs.append(found.sign)
                doubt = {0: ", which does not show it", -1: ", which shows the opposite"}.get(found.sign, "")
                parts.append(f"{DOING.get(operation, operation)} {found.in_words()}{doubt}")
        if parts:
            said.append(f"{upper(where(evaluation))}, P(right letter) changes: {'; '.join(parts)}.")
    said += _beside(run)
    inside = _in_sample(run)
    if not signs:
        return Answer(question, UNMEASURED, "QRNCA’s neurons were not touched on anything held out." + inside)
    return Answer(question, verdict(signs), " ".join(said) + inside)


def _beside(run: Run) -> list[str]:
    """What the same neurons do where they were located: a sentence for each evaluation."""
    sentences = []
    for evaluation in (BESIDE[name] for name in run.held_out("ratios")):
        found = [(name, terms_of(run, evaluation, name)) for name in operations(run["ratios"])]
        parts = [
            f"{relative(one.related.mean)} and {relative(one.unrelated.mean)} {DOING.get(name, name)}"
            for name, one in found
            if one is not None
        ]
        if parts:
            sentences.append(f"{upper(where(evaluation))}, the same neurons change them by {'; by '.join(parts)}.")
    return sentences


def _in_sample(run: Run) -> str:
    found = [(name, terms_of(run, IN_SAMPLE, name)) for name in operations(run["ratios"])]
    parts = [
        f"{relative(one.related.mean)} and {relative(one.unrelated.mean)} {DOING.get(name, name)}"
        for name, one in found
        if one is not None
    ]
    return f" In sample, related and unrelated answers change by {'; by '.join(parts)}." if parts else ""


def _beats(run: Run) -> Answer:
    question = "Does it beat its baselines and ablations, held out?"
    signs: list[int] = []
    said = []
    for evaluation in run.held_out("changes"):
        parts = []
        for operation in operations(run["changes"]):
            compared = _compared(run, evaluation, operation)
            signs += compared.values()
            if compared:
                above = sum(sign > 0 for sign in compared.values())
                doubts = _doubts(compared)
                parts.append(
                    f"{count(above)} of {count(len(compared))} other methods when {DOING.get(operation, operation)}"
                    + (f" ({doubts})" if doubts else "")
                )
        if parts:
            said.append(f"{upper(where(evaluation))}, it is ahead of {', of '.join(parts)}.")
    if not signs:
        return Answer(question, UNMEASURED, "No other method’s neurons were touched on anything held out.")
    rule = (
        " Ahead: its related answers move more than unrelated ones, and the ratio of the two is above the other’s "
        "over the same questions, or the other is not shown to move related answers at all."
    )
    return Answer(question, verdict(signs), " ".join(said) + rule)


def _compared(run: Run, evaluation: str, operation: str) -> dict[str, int]:
    """By other method: 1 if QRNCA is ahead of it, -1 if behind, 0 if neither is shown."""
    own = terms_of(run, evaluation, operation)
    found = {}
    for method in run.methods("changes"):
        sign = ratio_above(run, evaluation, operation, method) if method != QRNCA else None
        if sign is None:
            continue
        other = terms_of(run, evaluation, operation, method)
        # A ratio of two changes that are none is noise, and may come out as large as one likes
        moves = other is None or other.related.low > 0 or other.related.high < 0
        if own is None or own.sign <= 0:
            found[method] = min(sign, 0)
        else:
            found[method] = sign if moves else 1
    return found


def _doubts(signs: dict[str, int]) -> str:
    """Which methods QRNCA is not ahead of."""
    kinds = {-1: "behind", 0: "not shown"}
    parts = []
    for sign, words in kinds.items():
        methods = [_noun(method) for method, found in signs.items() if found == sign]
        if methods:
            parts.append(f"{words}: {', '.join(methods)}")
    return "; ".join(parts)


def _noun(method: str) -> str:
    return f"itself {name_of(method)}" if method in ABLATIONS else name_of(method)


def _own(run: Run) -> Answer:
    question = "Do domains or languages have neurons of their own?"
    found = overlaps(run)
    if not found:
        return Answer(question, UNMEASURED, "The table of overlap has no two groups.")
    less, more = (sum(one.sign == sign for one in found) for sign in (-1, 1))
    low, high = min(found, key=lambda one: one.observed), max(found, key=lambda one: one.observed)
    mean = sum(one.expected for one in found) / len(found)
    pairs = "pair" if len(found) == 1 else "pairs"
    text = (
        f"{count(less)} of {count(len(found))} {pairs} of groups share fewer neurons than shuffled "
        f"{shuffled_in(run)} do, {count(more)} more. Jaccard goes from {low.observed:.2f} ({low.first} – "
        f"{low.second}) to {high.observed:.2f} ({high.first} – {high.second}); shuffled it is {mean:.2f}."
    )
    if has_blocks(run):
        alone = sum(one.sign < 0 for one in overlaps(run, null="questions"))
        text += f" Against questions shuffled one by one it would be {count(alone)}."
    rest = " ".join(filter(None, (gap_in_words(run), why_questions(run))))
    return Answer(question, verdict([-one.sign for one in found]), f"{text} {rest}".rstrip())


def _flips(run: Run) -> Answer:
    question = "Can answers be flipped, held out?"
    signs, said = [], []
    for evaluation in run.held_out("editing"):
        own = [editing.beyond_controls(run, evaluation, name) for name in operations(run["editing"])]
        signs += [sign for sign in own if sign is not None]
        words = editing.in_words(run, evaluation)
        if words:
            said.append(f"{upper(where(evaluation))}, {'; '.join(words)}.")
    if not signs:
        return Answer(
            question, UNMEASURED, " ".join(said) or "No held-out answer could turn, or none was asked again."
        )
    doubt = "" if all(signs) else " Where an interval overlaps that of a control, that this is more is not shown."
    return Answer(question, verdict(signs), " ".join(said) + doubt)


def _predicts(run: Run) -> Answer:
    question = "Do a group’s neurons predict answers, beyond random ones and another group’s?"
    signs: list[int] = []
    said = []
    for rule in prediction.rules(run):
        own, sign = prediction.accuracy(run, rule), prediction.beyond_controls(run, rule)
        if own is None or sign is None:
            continue
        signs.append(sign)
        beside = [
            f"{name} {portion(found)}"
            for pool, name in POOLS.items()
            if pool != prediction.OWN and (found := prediction.accuracy(run, rule, pool=pool)) is not None
        ]
        beyond = [
            f"{points(found)} beyond {POOLS[pool]}"
            for pool in prediction.JUDGES
            if (found := prediction.gain(run, rule, pool)) is not None
        ]
        said.append(f"{RULES.get(rule, rule)} {portion(own)} ({', '.join(beside)}; {', '.join(beyond)})")
    if not signs:
        return Answer(question, UNMEASURED, "No answer was predicted from neurons alone, or from no others beside.")
    references = [
        f"{name} {share(found.mean)}"
        for name in (CHANCE, FULL)
        if (found := prediction.accuracy(run, name)) is not None
    ]
    text = f"Right on held-out questions: {'; '.join(said)}. For comparison: {', '.join(references)}."
    return Answer(question, verdict(signs), text)
