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
        ('/data/vheat (1).pth', '/data/vheat (1).pth'),
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


def test_brackets_that_do_not_close(capsys) -> None:
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', 'a=[1,2'])
    assert '--cfg-options a=[1,2: Imbalanced' in capsys.readouterr().err
