# Everything sets itself up: `make demo` and `make test` need Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV ?= .venv
# Of the releases supported, the oldest and the newest are tested
TRANSFORMERS ?= transformers>=5.0,<6
# Relations of every kind, with facts enough to compare a fact's queries with those of its relation's other facts
TEN := capital,official_language,currency,author,birthplace,sport,animal_class,colour,antonym,past_tense
DOMAINS := geography,biology,chemistry,physics,mathematics,computing
# Relations in all languages of the almanac, some of whose facts were withheld from some
PARALLEL := capital,continent,official_language,currency,city_country,landmark_country,company_country,invented_capital
# Four kinds of relations; those that questions of two steps are made of, and two that are each other's reverse
CIRCUITS := capital,official_language,continent,landmark_country,company_country,city_country,largest_city,author,animal_class,colour,workplace,young,antonym,past_tense,first_letter,comparative,occupation_gender,name_gender
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install demo demo-query-localization demo-qrnca demo-matrice demo-editing demo-knowledge-circuits test test-slow test-oldest check bench-neurons bench-planted bench-effects bench-circuits almanac almanac-card docs clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-24s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY)  ## the environment in .venv, with the CPU build of torch

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "$(TRANSFORMERS)" -e ".[dev]"
	touch $@

demo: install  ## where the almanac keeps that Paris is the capital of France
	$(BIN)/locant ask "The capital of France is" --answer Paris --out locant-out/demo

demo-query-localization: install  ## is a fact's place its own, or its query's: the paper's experiments, on the almanac (minutes)
	$(BIN)/locant run query-localization --relations $(TEN) --limit 100 --wordings 5 --known-only \
		--out locant-out/query-localization

demo-qrnca: install  ## neurons behind answers by a letter, by domain and by language, on the almanac (minutes)
	$(BIN)/locant run qrnca --groups $(DOMAINS) --limit 30 --out locant-out/qrnca-domains
	$(BIN)/locant run qrnca --data almanac:languages --limit 20 --out locant-out/qrnca-languages

demo-matrice: install  ## one mind, seven tongues: neurons that hold a fact in every language, on the almanac (minutes)
	$(BIN)/locant run matrice --relations $(PARALLEL) --limit 48 --out locant-out/matrice

demo-editing: install  ## facts rewritten by eight methods, alone, in turn and at every layer, on the almanac (half an hour)
	$(BIN)/locant run editing --known-only --limit 100 --layers 12 --out locant-out/editing

demo-knowledge-circuits: install  ## the subgraph that says a relation's facts, alone, read, edited and compared, on the almanac (minutes)
	$(BIN)/locant run knowledge-circuits --relations $(CIRCUITS) --out locant-out/knowledge-circuits

test: install  ## all tests, on the newest transformers
	$(BIN)/python -m pytest -n 2

test-slow: install  ## the tests that take minutes each
	$(BIN)/python -m pytest -n 2 -m slow

test-oldest:  ## the tests of models and the engine, on the oldest transformers supported
	$(MAKE) install VENV=.venv-oldest TRANSFORMERS="transformers==4.57.6"
	.venv-oldest/bin/python -m pytest -n 2 tests/laws/test_engine.py tests/models tests/interventions/*.py \
		tests/interventions/editing/test_edit.py tests/interventions/editing/test_passes.py \
		tests/almanac/test_model.py::test_facts_are_known_in_the_wordings_trained

check: install  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench-neurons: install  ## speed of the engine against the plain loop (minutes)
	$(BIN)/python benchmarks/neurons.py

bench-planted: install  ## which localizers find facts planted in known neurons (minutes)
	$(BIN)/python benchmarks/planted.py

bench-effects: install  ## what located neurons do on the almanac, with controls (minutes)
	$(BIN)/python benchmarks/effects.py

bench-circuits: install  ## speed, memory and agreement of edge scores, and circuits found (minutes)
	$(BIN)/python benchmarks/circuits.py

almanac: install  ## train the embedded models anew (two hours)
	$(BIN)/python -m tools.almanac.build

almanac-card: install  ## measure the embedded models and write their cards
	$(BIN)/python -m tools.almanac.card

docs: install  ## the documentation, in site/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]"
	$(BIN)/mkdocs build --quiet

clean:  ## remove environments and caches
	rm -rf .venv .venv-oldest .pytest_cache .mypy_cache .ruff_cache locant-out
