"""What boosting and suppressing neurons does to related and unrelated answers, by method and by group."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from locant.reports.blocks import Block, Section, absent, as_table, caption, legend, note, panels, plot
from locant.reports.means import in_order, values
from locant.reports.numbers import change, count, relative
from locant.reports.qrnca.figures import Pair, pairs
from locant.reports.qrnca.names import ALL, DOING, EVALUATIONS, IN_SAMPLE, METHODS, OPERATIONS, QRNCA, name_of, where
from locant.reports.qrnca.run import Run
from locant.reports.qrnca.terms import Terms, ratio_above, size_of, terms, terms_of
from locant.reports.text import upper
from locant.types import Interval

LEGEND = [("related", "related: questions the neurons are of"), ("square", "unrelated: of other groups, the control")]
_CHANGE = {
    "ratio-of-means": "(mean after − mean before) / mean before, the means over facts",
    "mean-of-ratios": "(after − before) / before, the mean over facts",
}
_WHAT = (
    "Relative change of the probability of the right letter, {}, when neurons are multiplied by 2 (boosted) or 0 "
    "(suppressed) where the answer is predicted; whiskers and brackets are 95% bootstrap intervals over facts, given "
    "these sets of neurons (a fact’s questions in several languages "
    "are one unit)."
)
_RATIO = (
    "The ratio is |related| / |unrelated|, the paper’s PCR: it forgets the signs, and grows without limit where "
    "unrelated answers hardly move. It has “no upper limit” where the unrelated change cannot be told from none."
)
_ABOUT = {
    "held-out question": "Held-out questions: neurons of one half of the group’s questions, judged by the other "
    "half, each half in turn; nothing of the questions had a part in choosing them.",
    "known question": "Known questions: the same neurons of a group, judged by the half that located them.",
    "held-out template": "Held-out templates: neurons located without a template, asked with it, each in turn.",
    "seen templates": "Seen templates: the same neurons, asked with the other templates, which located them.",
    IN_SAMPLE: "In sample: the very prompts that the neurons were located with, as the paper seems to do; "
    "such changes overstate.",
}


def _what(run: Run) -> str:
    """What the bars are, by the way the run joins its facts."""
    return _WHAT.format(_CHANGE[str(run.settings.get("aggregate", "ratio-of-means"))])


def sections(run: Run) -> Iterator[Section]:
    """By method, and by group."""
    known = run.evaluations("ratios")
    if not known:
        why = "The table of ratios has no rows: no neurons were boosted or suppressed."
        yield Section("change", "Change", {None: absent("No neurons were touched", why)})
        return
    keys = {name: key_of(run, name) for name in known}
    yield Section("change", "Change", {keys[name]: _by_method(run, name, keys[name]) for name in known})
    yield Section("change-groups", "", {keys[name]: _by_group(run, name, keys[name]) for name in known})


def evaluations(run: Run) -> list[str]:
    """All there are in any table: each is a button, by its place here."""
    found = [*run.evaluations("ratios"), *run.evaluations("editing")]
    return in_order(list(dict.fromkeys(found)), EVALUATIONS)


def key_of(run: Run, evaluation: str) -> str:
    """The key of an evaluation's button."""
    return str(evaluations(run).index(evaluation))


def operations(rows: pl.DataFrame) -> list[str]:
    """Of a table's rows, in the page's order."""
    return in_order(values(rows, "operation"), tuple(OPERATIONS))


def in_words(run: Run, evaluation: str) -> list[str]:
    """What each operation on QRNCA's neurons does, for headings."""
    found = [(name, terms_of(run, evaluation, name)) for name in operations(run["ratios"])]
    return [
        f"{relative(one.related.mean)} and {relative(one.unrelated.mean)} when {OPERATIONS.get(name, name).lower()}"
        for name, one in found
        if one is not None
    ]


def _by_method(run: Run, evaluation: str, key: str) -> Block:
    rows = run.of("ratios", evaluation=evaluation, group=ALL)
    found = {(str(row["method"]), str(row["operation"])): terms(row) for row in rows.iter_rows(named=True)}
    everywhere = run.of("ratios", group=ALL)
    body, figures = _panels(
        [(operation, [(name_of(method), found.get((method, operation))) for method in run.methods("ratios")])
         for operation in operations(run["ratios"])],
        everywhere, f"change-{key}",
    )  # fmt: skip
    said = (
        f"{_what(run)} {_about(evaluation)} Related: the questions that the neurons are of; control: as many "
        f"questions of other groups, with the same neurons touched. {_RATIO} Other methods are controls too: "
        "two ablations, the knowledge neurons of Dai et al. (KN) and QRNCA’s strongest, as few as these, the most "
        f"active neurons, and random ones, as many as QRNCA’s of the same layers{_unmatched(run, evaluation)}. "
        "n in the table."
    )
    head = ("method", "operation", "neurons", "related", "unrelated", "ratio", "QRNCA’s ratio is", "n")
    table = [
        (name_of(method), OPERATIONS.get(operation, operation).lower(), _size(run, evaluation, method),
         change(one.related), change(one.unrelated), one.ratio_text, _above(run, evaluation, operation, method),
         count(one.related.n))
        for method in run.methods("ratios")
        for operation in operations(run["ratios"])
        if (one := found.get((method, operation))) is not None
    ]  # fmt: skip
    told = in_words(run, evaluation)
    heading = (
        f"{upper(where(evaluation))}, QRNCA’s neurons change related and unrelated answers by {'; by '.join(told)}"
        if told
        else f"{upper(where(evaluation))}, QRNCA’s neurons were not touched"
    )
    return Block(heading, body + caption(said) + as_table(head, table, 2), figures)


def _by_group(run: Run, evaluation: str, key: str) -> Block:
    rows = run.of("ratios", evaluation=evaluation).filter(pl.col("group") != ALL)
    own = rows.filter(pl.col("method") == QRNCA)
    found = {(str(row["group"]), str(row["operation"])): terms(row) for row in own.iter_rows(named=True)}
    groups = [group for group in run.groups if any(group == name for name, _ in found)]
    if not groups:
        return absent(
            f"{upper(where(evaluation))}, no group was judged by itself", "The table of ratios has no rows of groups."
        )
    everywhere = run.of("ratios", method=QRNCA).filter(pl.col("group") != ALL)
    body, figures = _panels(
        [(operation, [(group, found.get((group, operation))) for group in groups])
         for operation in operations(run["ratios"])],
        everywhere, f"groups-{key}",
    )  # fmt: skip
    said = (
        f"The same for QRNCA’s neurons by the group of their questions. {_what(run)} {_about(evaluation)} "
        f"Control: as many questions of other groups. {_RATIO} n in the table, which has every method."
    )
    head = ("group", "method", "operation", "related", "unrelated", "ratio", "n")
    table = [
        (str(row["group"]), name_of(str(row["method"])), OPERATIONS.get(row["operation"], row["operation"]).lower(),
         change(one.related), change(one.unrelated), one.ratio_text, count(one.related.n))
        for row in rows.sort(pl.col("method").replace_strict({name: at for at, name in enumerate(METHODS)},
                                                             default=len(METHODS)), maintain_order=True)
        .iter_rows(named=True)
        for one in (terms(row),)
    ]  # fmt: skip
    told = []
    for operation in operations(own):
        signs = [one.sign for (_, name), one in found.items() if name == operation]
        told.append(f"{sum(sign > 0 for sign in signs)} of {len(signs)} when {DOING.get(operation, operation)}")
    heading = f"{upper(where(evaluation))}, related answers move more than unrelated ones in these groups: "
    return Block(heading + ", ".join(told), body + caption(said) + as_table(head, table, 3), figures)


def _panels(
    parts: list[tuple[str, list[tuple[str, Terms | None]]]], everywhere: pl.DataFrame, uid: str
) -> tuple[str, dict[str, object]]:
    figures, shown = {}, []
    for operation, found in parts:
        known = [(name, one) for name, one in found if one is not None]
        title = OPERATIONS.get(operation, operation)
        if not known:
            shown.append((title, note("None was touched.")))
            continue
        n = sorted({one.related.n for _, one in known})
        ends = [f"{count(n[0])}"] if len(n) == 1 else [count(n[0]), count(n[-1])]
        every = _changes(everywhere.filter(pl.col("operation") == operation))
        name = f"{uid}-{operation}" if operation in OPERATIONS else f"{uid}-{len(shown)}"
        figures[name] = pairs(
            [Pair(label, one.related, one.unrelated, one.ratio_text) for label, one in known],
            every,
            down=operation == "suppress",
        )
        label = f"Related and unrelated changes, {title.lower()}; the table has the numbers"
        shown.append((f"{title}, n = {' to '.join(ends)} facts", plot(name, label)))
    return legend(LEGEND) + panels(shown), figures


def _changes(rows: pl.DataFrame) -> list[Interval]:
    return [
        side for row in rows.iter_rows(named=True) for one in (terms(row),) for side in (one.related, one.unrelated)
    ]


def _about(evaluation: str) -> str:
    return _ABOUT.get(evaluation, f"Evaluation: {evaluation}.")


def _unmatched(run: Run, evaluation: str) -> str:
    """How many questions have random neurons of other layers, since theirs had not as many others."""
    rows = run.of("changes", evaluation=evaluation, method="random", asked="related")
    left = rows.filter(~pl.col("matched"))["question"].n_unique()
    return f" (of any layer for {count(left)} questions, whose layers have not as many others)" if left else ""


def _size(run: Run, evaluation: str, method: str) -> str:
    size = size_of(run, evaluation, method)
    return f"{size:.1f}" if size == size else "not known"


def _above(run: Run, evaluation: str, operation: str, method: str) -> str:
    if method == QRNCA:
        return "its own"
    sign = ratio_above(run, evaluation, operation, method)
    return "not compared" if sign is None else ("not shown to differ", "above", "below")[sign]
