"""The examples in docstrings give what they say."""

import doctest
import importlib

import pytest

MODULES = {
    'mmvheat.ops.heat': 3,
    'mmvheat.ops.dct': 1,
    'mmvheat.ops.freq_embed': 1,
    'mmvheat.ops.propagators': 1,
    'mmvheat.nn.heat_conduction': 2,
    'mmvheat.models.vheat': 1,
    'mmvheat.checkpoint.converter': 2,
    'mmvheat.checkpoint.loader': 1,
    'mmvheat.engine.layer_decay_optim_wrapper_constructor': 1,
    'mmvheat.visualization.heat': 2,
    'mmvheat.zoo': 1,
}


@pytest.mark.parametrize('name', MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    found = doctest.DocTestFinder(exclude_empty=True).find(module)
    tests = [test for test in found if test.examples]
    assert len(tests) == MODULES[name]
    runner = doctest.DocTestRunner()
    for test in tests:
        runner.run(test)
    assert not runner.failures
