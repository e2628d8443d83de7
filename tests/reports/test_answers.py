"""What a run says in a word and in a line: no more than its figure, and no verdict over too few cases."""

from __future__ import annotations

import pytest

from locant.reports.answers import FEW, Answer, answer_list, verdict
from locant.reports.knowledge_circuits.means import everywhere, judged, tally
from locant.reports.runs import left_out_of
from locant.types import Interval

MORE, NONE, SMALL = Interval(0.3, 0.1, 0.5, 20), Interval(0.0, -0.1, 0.1, 20), Interval(0.3, 0.1, 0.5, 5)


@pytest.mark.parametrize(
    ("text", "brief"),
    [
        ("It is 0.35 [0.3, 0.4] of all. More is not said.", "It is 0.35 [0.3, 0.4] of all"),
        ("P(answer) is 92% (whole model: 100% (all facts); n = 36); beside it 4%.", "P(answer) is 92%"),
        ("Nothing was measured.", "Nothing was measured"),
    ],
)
def test_a_line_has_the_first_clause_without_what_is_in_parentheses(text, brief):
    assert Answer("Is it?", "Yes", text).brief == brief


def test_fewer_cases_than_show_anything_are_called_few():
    assert (judged(MORE), judged(NONE), judged(SMALL), judged(SMALL, None)) == ("Yes", "Not shown", FEW, FEW)
    assert judged(SMALL, NONE) == "Not shown" and verdict([-1, 0], few=True) == "No"
    assert "too few cases to show anything" in answer_list([Answer("Is it?", FEW, "Who knows.")])


def test_a_claim_holds_everywhere_if_no_relation_with_facts_enough_lacks_it():
    assert everywhere([MORE, SMALL, None]) and not everywhere([MORE, NONE])
    assert tally([MORE, NONE, SMALL, None], "More") == "More in 1 of 2 relations (1 relation more with too few facts)"
    assert tally([SMALL], "More") == "No relation by itself has facts enough to show anything"


def test_what_was_left_out_is_counted_under_either_name():
    found = left_out_of({"left_out": {"not known": 3, "too long": 0}, "dropped": {"said before": 2}, "facts": 4})
    assert found == {"not known": 3, "said before": 2} and left_out_of({}) == {}
