"""A device that is not there is told before anything runs."""

from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from mmvheat.commands.arguments import parse_device


@pytest.mark.parametrize('name', ['', 'nothing', 'hpu', 'cuda:99'])
def test_devices_that_are_not_there(name) -> None:
    with pytest.raises(ArgumentTypeError, match='is no device of this mach'):
        parse_device(name)


def test_devices_that_are_there() -> None:
    assert [parse_device(name) for name in ('cpu', 'meta')] == ['cpu', 'meta']
