"""Stage 1: facts put into words, and their answers into tokens.

`query` makes one, `read_queries` reads a file of them, `write_queries` writes one; `read_pararel` reads a folder of
ParaRel, `read_lre` one of LRE; `resolve` finds the answer's tokens for a tokenizer. `choose` asks by multiple choice.
Edits with what judges them come from `read_counterfact`, `read_zsre`, `read_mquake`, `read_edits`, or of facts from
`edit_cases_of_facts`.
"""

from locant.queries.choice import (
    ChoicePrompt,
    ChoiceQuestion,
    choice_languages,
    choose,
    gather_choices,
    put_in_chat,
)
from locant.queries.counterfact import read_counterfact
from locant.queries.edit_cases import CaseSet, EditCase
from locant.queries.edit_files import read_edits
from locant.queries.edited_facts import edit_cases_of_facts
from locant.queries.files import read_queries, write_queries
from locant.queries.items import Item, item, read_items, read_mmlu
from locant.queries.lre import LreRelation, lre_relations, read_lre
from locant.queries.make import edit_request, query
from locant.queries.mquake import read_mquake
from locant.queries.pararel import read_pararel
from locant.queries.qrnca import read_qrnca
from locant.queries.subjects import subject_tokens
from locant.queries.tokens import MASK, Kind, Tokens, resolve, resolve_prompt
from locant.queries.zsre import read_zsre

__all__ = [
    "MASK",
    "CaseSet",
    "ChoicePrompt",
    "ChoiceQuestion",
    "EditCase",
    "Item",
    "Kind",
    "LreRelation",
    "Tokens",
    "choice_languages",
    "choose",
    "edit_cases_of_facts",
    "edit_request",
    "gather_choices",
    "item",
    "lre_relations",
    "put_in_chat",
    "query",
    "read_counterfact",
    "read_edits",
    "read_items",
    "read_lre",
    "read_mmlu",
    "read_mquake",
    "read_pararel",
    "read_qrnca",
    "read_queries",
    "read_zsre",
    "resolve",
    "resolve_prompt",
    "subject_tokens",
    "write_queries",
]
