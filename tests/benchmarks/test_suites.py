"""The table of suites: which cases there are at which size."""

import math

from benchmarks import tutorials
from benchmarks.suite import OURS
from benchmarks.suites import SUITES


def test_every_size_has_cases_and_every_model_a_size() -> None:
    for name, suite in SUITES.items():
        found = [[case.model for case in suite.cases(size)] for size in suite.sizes]
        assert all(found), name
        assert {model for models in found for model in models} == set(suite.models), name


def test_a_network_takes_inputs_of_its_own_size_alone() -> None:
    suite = SUITES["networks"]
    cases = [case for size in suite.sizes for case in suite.cases(size)]
    assert len(cases) == len(tutorials.NETWORKS) * len([*tutorials.FORMS, OURS])
    for case in cases:
        assert math.prod(tutorials.NETWORKS[case.model].shape) == case.size.N, case.model
