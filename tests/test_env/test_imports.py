"""Imports inside the package go one way."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / 'mmvheat'
MAY_IMPORT = {
    'ops': set(),
    'fast': {'ops'},
    'nn': {'ops', 'fast'},
    'models': {'ops', 'fast', 'nn', 'version'},
    'checkpoint': {'ops', 'models', 'version'},
    'datasets': {'errors'},
    'evaluation': set(),
    'visualization': {'ops', 'models', 'checkpoint', 'errors'},
    'engine': {
        *('fast', 'models', 'checkpoint', 'errors', 'compat'),
        *('datasets', 'evaluation', 'visualization'),
    },
    'commands': {
        *('ops', 'checkpoint', 'errors', 'datasets', 'engine'),
        'visualization',
    },
    'analysis': {
        *('models', 'checkpoint', 'errors', 'version', 'visualization'),
        'commands',
    },
    'export': {
        *('ops', 'fast', 'nn', 'models', 'checkpoint', 'errors', 'version'),
        *('commands', 'deploy'),
    },
    'robustness': {
        *('ops', 'datasets', 'checkpoint', 'errors', 'visualization'),
        *('engine', 'commands', 'analysis'),
    },
    'projects': {'checkpoint', 'errors', 'version', 'zoo', 'commands'},
}
LIBRARIES = {'ops': {'torch'}, 'fast': {'torch', 'triton'}, 'nn': {'torch'}}
DOWNSTREAM = {'mmdet', 'mmseg', 'mmpretrain'}


def list_imports(folder, top_level_only):
    """List the absolute names that files of a folder import."""
    for path in sorted((PACKAGE / folder).rglob('*.py')):
        tree = ast.parse(path.read_text())
        for node in tree.body if top_level_only else ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield path, node.module


def test_every_folder_was_found():
    for folder in MAY_IMPORT:
        assert list(list_imports(folder, False)), folder


@pytest.mark.parametrize('folder', MAY_IMPORT)
def test_parts_import_what_is_below_them(folder):
    for path, name in list_imports(folder, top_level_only=True):
        if name.startswith('mmvheat'):
            part = name.split('.')[1]
            assert part in MAY_IMPORT[folder] | {folder}, (path, name)


@pytest.mark.parametrize('folder', LIBRARIES)
def test_mathematics_needs_torch_alone(folder):
    import sys

    for path, name in list_imports(folder, top_level_only=False):
        root = name.split('.')[0]
        assert (
            root in LIBRARIES[folder] | {'mmvheat'} | sys.stdlib_module_names
        ), (path, name)


@pytest.mark.parametrize('folder', ['', *MAY_IMPORT])
def test_no_downstream_library_at_module_level(folder):
    for path, name in list_imports(folder, top_level_only=True):
        assert name.split('.')[0] not in DOWNSTREAM, (path, name)


def test_models_and_ops_know_no_tricks():
    words = ('mkldnn', 'onednn', 'is_plain', 'is_traced', '_cache')
    for folder in ('ops', 'nn', 'models'):
        for path in (PACKAGE / folder).glob('*.py'):
            text = path.read_text()
            assert not [w for w in words if w in text], path
