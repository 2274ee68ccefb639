"""`magpie up --parameter`: what the template does not take is said before anything is started."""

import pytest

from cli.up import OWN_MACHINE
from local.stack import ROOT
from local.template import load


@pytest.mark.parametrize(
    ("parameters", "wrong"),
    [
        (["DefaultTeir=free"], "the template has no parameter DefaultTeir; did you mean DefaultTier?"),
        (["Nonsense=1"], "the template has no parameter Nonsense; see Parameters there"),
        (["DefaultTier=gold"], "'gold' is not one of free, plus, team"),
        (["ModelBudgetUsd=lots"], "'lots' is not a number"),
        (["ModelBudgetUsd=-1"], "-1 is out of range"),
        (["ModelBudgetUsd"], "--parameter takes NAME=VALUE, such as ModelBudgetUsd=5, not 'ModelBudgetUsd'"),
        (["=5"], "--parameter takes NAME=VALUE"),
        (["DefaultTier=free", "DefaultTier=team"], "--parameter DefaultTier is given twice"),
    ],
)
def test_a_parameter_that_cannot_be_taken_is_wrong_usage(run, tmp_path, parameters, wrong):
    data = tmp_path / "data"
    options = [part for each in parameters for part in ("--parameter", each)]
    ran = run("up", "--port", "0", "--aws-port", "0", "--data", str(data), *options)
    assert ran.code == 2
    assert wrong in ran.err
    assert not (data / "postgres").exists()


def test_on_one_s_own_machine_there_is_the_room_of_the_largest_tier():
    parameters = load(ROOT / "template.yaml", OWN_MACHINE).parameters
    assert parameters["DefaultTier"] == "team"
    assert load(ROOT / "template.yaml").parameters["DefaultTier"] == "free"
