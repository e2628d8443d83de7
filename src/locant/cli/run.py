"""The commands that run a paper's whole set of experiments, and the one that makes a run's page anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from locant.cli.shared import (
    DebugOption,
    DeviceMapOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelOption,
    RemoteOption,
    RevisionOption,
    SeedOption,
    TopOption,
    counting,
    load_model,
    method_settings,
    out,
    plain,
    print_json,
    working,
)

if TYPE_CHECKING:
    from locant.types import Setting

run_app = typer.Typer(help="A paper's whole set of experiments, on your model and data.", no_args_is_help=True)


@run_app.command("query-localization")
def query_localization(
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the run; a stopped one is resumed.")],
    data: Annotated[str, typer.Option(help="almanac, pararel:FOLDER, or a file of queries.")] = "almanac",
    model: ModelOption = "almanac",
    relations: Annotated[str | None, typer.Option(help="Only these, with commas between: P36,P19.")] = None,
    language: Annotated[str, typer.Option(help="Of the queries.")] = "en",
    limit: Annotated[int | None, typer.Option(min=2, help="How many facts, evenly from the relations (all).")] = None,
    wordings: Annotated[int | None, typer.Option(min=2, help="Queries of each fact at most (all).")] = None,
    known_only: Annotated[bool, typer.Option("--known-only", help="Only queries that the model answers.")] = False,
    localizers: Annotated[str, typer.Option(help="Methods, with commas between; the first one's are touched.")] = (
        "dai,sig,amig"
    ),
    text: Annotated[
        Path | None, typer.Option(help="Running text that edits must spare; an empty line parts.")
    ] = None,
    touched: Annotated[int, typer.Option(min=1, help="Facts of each kind whose neurons are touched.")] = 20,
    edited: Annotated[int, typer.Option(min=1, help="Facts of each kind that are edited.")] = 15,
    setting: Annotated[
        list[str] | None, typer.Option(help="Of a localizer, e.g. amig.mode=code; more than one may be given.")
    ] = None,
    share: Annotated[float, typer.Option(help="A neuron's least score, as a share of the highest.")] = 0.2,
    static: Annotated[float, typer.Option(help="Below this CS2 a fact is inconsistent.")] = 0.3,
    alpha: Annotated[float, typer.Option(help="A column's least attention, as a share of the highest.")] = 0.3,
    renormalise: Annotated[bool, typer.Option("--renormalise", help="Rows keep what they pay in all.")] = False,
    beta1: Annotated[float, typer.Option(help="Of the consistency-aware score: times the mean.")] = 1.0,
    beta2: Annotated[float, typer.Option(help="Of the consistency-aware score: times the deviation.")] = 1.0,
    cas_values: Annotated[str, typer.Option(help="What that score is made of: activations or scores.")] = (
        "activations"
    ),
    lambda1: Annotated[float | None, typer.Option(help="Of an update: times the old answer (swept).")] = None,
    lambda2: Annotated[float | None, typer.Option(help="Of an update: times the new answer (swept).")] = None,
    embeddings: Annotated[str, typer.Option(help="Of the answers in an update: output or input.")] = "output",
    seed: SeedOption = 0,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    device_map: DeviceMapOption = None,
    revision: RevisionOption = None,
    trust_remote_code: RemoteOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Is a fact's place its own, or its query's? Every experiment of arXiv:2405.14117, with controls."""
    with working("loading"):
        from locant.recipes.data import read_texts, select_facts
        from locant.recipes.query_localization import Plan, localize_queries

        plan = Plan(
            localizers=tuple(filter(None, localizers.split(","))),
            settings=settings_of_localizers(setting or [], seed),
            share=share,
            static=static,
            touched=touched,
            edited=edited,
            alpha=alpha,
            renormalise=renormalise,
            beta1=beta1,
            beta2=beta2,
            cas_values=cas_values,
            lambda1=lambda1,
            lambda2=lambda2,
            embeddings=embeddings,
            seed=seed,
        )
        lm = load_model(model, dtype, device, device_map, revision, trust_remote_code)
        drawn: dict[str, Any] = {
            "relations": names_in(relations),
            "language": language,
            "limit": limit,
            "wordings": wordings,
            "known_only": known_only,
        }
        facts = select_facts(lm, data, **drawn, seed=seed)
        texts = read_texts(text, facts, seed)
    drawn["text"] = None if text is None else str(text)
    with stages() as say:
        localize_queries(lm, facts, out_folder, plan, source=data, drawn=drawn, texts=texts, say=say)
    show(out_folder, as_json)


@run_app.command("qrnca")
def qrnca(
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the run; a stopped one is resumed.")],
    data: Annotated[
        str, typer.Option(help="almanac, almanac:languages, qrnca:FILE, mmlu:FILE or FOLDER, or a file of questions.")
    ] = "almanac",
    model: ModelOption = "almanac",
    groups: Annotated[str | None, typer.Option(help="Only these domains or languages, with commas between.")] = None,
    limit: Annotated[int | None, typer.Option(min=2, help="How many questions of each group (all).")] = None,
    known_only: Annotated[bool, typer.Option("--known-only", help="Only questions that the model answers.")] = False,
    chat: Annotated[bool, typer.Option("--chat", help="Put prompts into the tokenizer's chat template.")] = False,
    templates: Annotated[int, typer.Option(min=2, help="Of each question; each is held out in turn.")] = 3,
    resample: Annotated[bool, typer.Option("--resample", help="Other wrong options in every template.")] = False,
    mode: Annotated[str, typer.Option(help="paper, or released: attribute, round and cluster as that code.")] = (
        "paper"
    ),
    setting: Annotated[list[str] | None, typer.Option(help="Of the attribution, e.g. dai.steps=16.")] = None,
    decimals: Annotated[int | None, typer.Option(min=0, help="That scores are rounded to, if released (6).")] = None,
    contrast: Annotated[
        bool, typer.Option("--contrast", help="Attribute P(right letter) less the mean of the wrong ones.")
    ] = False,
    wrong_answers: Annotated[
        bool, typer.Option("--wrong-answers", help="Attribute wrong letters too, and compare.")
    ] = False,
    share: Annotated[float, typer.Option(help="A cluster's least score, as a share of the highest.")] = 0.2,
    common: Annotated[float, typer.Option(help="In more than this share of clusters, a neuron is common.")] = 0.3,
    top: TopOption = 20,
    aggregate: Annotated[str, typer.Option(help="Of changes: ratio-of-means or mean-of-ratios.")] = "ratio-of-means",
    seed: SeedOption = 0,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    device_map: DeviceMapOption = None,
    revision: RevisionOption = None,
    trust_remote_code: RemoteOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Neurons behind answers of any length, through multiple choice. Every experiment of arXiv:2406.10868."""
    with working("loading"):
        from locant.recipes.choices import select_choices
        from locant.recipes.qrnca import Plan, run_qrnca

        plan = Plan(
            mode=mode,
            settings=settings_of_localizers(setting or [], seed, ("dai",)).get("dai", {}),
            decimals=decimals,
            contrast=contrast,
            wrong=wrong_answers,
            share=share,
            common=common,
            top=top,
            aggregate=aggregate,
            seed=seed,
        )
        lm = load_model(model, dtype, device, device_map, revision, trust_remote_code)
        drawn: dict[str, Any] = {
            "groups": names_in(groups),
            "limit": limit,
            "known_only": known_only,
            "chat": chat,
            "templates": templates,
            "resample": resample,
        }
        questions = select_choices(lm, data, **drawn, seed=seed)
    with stages() as say:
        run_qrnca(lm, questions, out_folder, plan, source=data, drawn=drawn, say=say)
    show(out_folder, as_json)


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a finished run's page anew, from its tables; the model is not needed."""
    show(run, as_json)


def settings_of_localizers(
    words: list[str], seed: int, known: tuple[str, ...] | None = None
) -> dict[str, dict[str, Setting]]:
    """Settings by localizer, from words such as amig.mode=code.

    Args:
        known: the localizers that may be set; None for all there are.
    """
    from locant.attributions import METHODS

    known = known or tuple(METHODS)
    by_localizer: dict[str, list[str]] = {}
    for word in words:
        localizer, dot, rest = word.partition(".")
        if not dot or "=" not in rest or localizer not in known:
            example = "amig.mode=code" if "amig" in known else f"{known[0]}.steps=20"
            raise typer.BadParameter(f"--setting takes LOCALIZER.NAME=VALUE, e.g. {example}, not {word!r}")
        by_localizer.setdefault(localizer, []).append(f"--{rest}")
    return {name: method_settings(name, own, seed) for name, own in by_localizer.items()}


def names_in(words: str | None) -> list[str] | None:
    """Names with commas between; None for all there are."""
    return list(filter(None, (word.strip() for word in words.split(",")))) if words else None


@contextmanager
def stages() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """A line of progress for each part of a run."""
    with ExitStack() as stack:

        def say(what: str, units: int) -> Callable[[int], None]:
            stack.close()
            return stack.enter_context(counting(what, units))

        yield say


def show(run: Path, as_json: bool) -> None:
    """Write the page and say where it is, after what was found."""
    with working("drawing"):
        from locant.files import write_text
        from locant.reports.registry import report_of

        made = report_of(run)
        page, found = made.page_of(run), made.answers_of(run)
        place = write_text(run / "page.html", page)
    if as_json:
        print_json({"page": str(place), "answers": [asdict(one) for one in found]})
        return
    for one in found:
        out.print(f"[bold]{plain(one.question)}[/] {plain(one.short)}. {plain(one.text)}\n", soft_wrap=True)
    out.print(f"Page: {place}", soft_wrap=True, markup=False)
