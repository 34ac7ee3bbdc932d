"""Options of the command line mean what they say."""

from __future__ import annotations

from argparse import ArgumentParser

import pytest

from mmvheat.commands.arguments import ConfigOptions


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('/my data/coco', '/my data/coco'),
        ("it's", "it's"),
        ('1e-4', 1e-4),
        ('4', 4),
        ('True', True),
        ('None', None),
        ('a=b', 'a=b'),
        ('[a, b]', ['a', 'b']),
        ('(1, 2)', (1, 2)),
        ('"(1,2)"', (1, 2)),
        ('1,2', [1, 2]),
    ],
)
def test_value(text, expected) -> None:
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    options = ['--cfg-options', 'a=1', f'b.c={text}', '--cfg-options', 'd=2']
    parsed = parser.parse_args(options).cfg_options
    assert parsed == {'a': 1, 'b.c': expected, 'd': 2}
