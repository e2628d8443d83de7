"""Stage 1: facts put into words, and their answers into tokens.

`query` makes one, `read_queries` reads a file of them, `write_queries` writes one; `resolve` finds the answer's
tokens for a tokenizer.
"""

from locant.queries.files import read_queries, write_queries
from locant.queries.make import query
from locant.queries.tokens import MASK, Kind, Tokens, resolve, resolve_prompt

__all__ = ["MASK", "Kind", "Tokens", "query", "read_queries", "resolve", "resolve_prompt", "write_queries"]
