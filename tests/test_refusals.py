"""The table in docs/refusals.md shows the errors that the code raises, and every example shows its own."""

import pytest
from omegaconf import OmegaConf

from qframe.config import build
from qframe.config.build import Assembly
from qframe.config.combinations import REFUSALS
from qframe.config.compose import compose
from scripts import refusals


def test_the_page_is_current():
    page = refusals.PAGE.read_text()
    assert refusals.START in page
    assert page == refusals.written(page), "python scripts/refusals.py writes it"


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.example)
def test_an_example_shows_its_own_refusal(refusal):
    (fault,) = build.check(compose(refusal.example.split(), provided=build.PROVIDED))
    config = OmegaConf.to_container(compose(refusal.example.split(), provided=build.PROVIDED), resolve=True)
    assembly = Assembly(config)
    message = refusal.message(assembly.parts, config)
    assert (fault.where, fault.message) == (refusal.where, message)


def test_overrides_that_are_accepted_have_no_row():
    with pytest.raises(ValueError, match="expected one fault in 'seed=2', got 0"):
        refusals.answer("seed=2")
