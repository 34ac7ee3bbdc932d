"""A config that cannot be read is named in a sentence."""

from __future__ import annotations

import pytest

from mmvheat.commands.config import load_config
from mmvheat.errors import UserError


@pytest.mark.parametrize(
    ('name', 'text', 'words'),
    [
        ('a.py', 'x = (1,', "SyntaxError: '.' was never closed"),
        ('a.py', 'x = "caf\xe9"', 'UnicodeDecodeError'),
        ('a.txt', 'x = 1', 'Only py/yml/yaml/json'),
        ('a.json', '{"x": 1,', 'JSONDecodeError'),
        ('a.yaml', 'x: y: z', 'mapping values are not allowed'),
        ('a.py', "_base_ = 'no.py'", 'FileNotFoundError.*no.py'),
        (
            'a.py',
            "_base_ = 'mmfoo::a/no.py'",
            'does not support to load mmfoo',
        ),
        ('a.py', "_base_ = ['b.py', 'c.py']", 'Duplicate key'),
        ('a.py', "_base_ = 'b.py'\ny = dict(z=1)", 'cannot inherit'),
        ('a.py', "x = '{{$MMVHEAT_NOT_SET:}}'", 'MMVHEAT_NOT_SET'),
    ],
)
def test_fault_is_named(tmp_path, name, text, words) -> None:
    for other in ('b.py', 'c.py'):
        (tmp_path / other).write_text('y = 1')
    (tmp_path / name).write_bytes(text.encode('latin1'))
    words = f'{name} could not be read: .*{words}'
    with pytest.raises(UserError, match=words):
        load_config(str(tmp_path / name))


@pytest.mark.parametrize(
    ('text', 'error'),
    [
        ("x = open('no.txt')", FileNotFoundError),
        ("x = dict()['key']", KeyError),
    ],
)
def test_code_of_a_config_keeps_its_traceback(tmp_path, text, error) -> None:
    (tmp_path / 'a.py').write_text(text)
    with pytest.raises(error):
        load_config(str(tmp_path / 'a.py'))


@pytest.mark.parametrize('name', ['mmvheat_absent', 'mmvheat_absent.part'])
def test_module_that_a_config_imports_in_vain_is_named(tmp_path, name) -> None:
    text = f'custom_imports = dict(imports=[{name!r}])'
    (tmp_path / 'a.py').write_text(text)
    with pytest.raises(UserError, match='a.py imports mmvheat_absent, which'):
        load_config(str(tmp_path / 'a.py'))


def test_module_that_imports_in_vain_keeps_its_traceback(
    tmp_path, monkeypatch
) -> None:
    (tmp_path / 'broken_of_mine.py').write_text('import mmvheat_absent')
    text = "custom_imports = dict(imports=['broken_of_mine'])"
    (tmp_path / 'a.py').write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError):
        load_config(str(tmp_path / 'a.py'))
