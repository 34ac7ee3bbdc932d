"""The merge of edits is that of git, line by line where git gives up."""

from __future__ import annotations

import random
import subprocess

import pytest

from mmvheat.projects.merge import merge


def git_merge(folder, base: str, mine: str, theirs: str) -> tuple[str, int]:
    """The result of git merge-file, and how many conflicts it has."""
    names = ('mine', 'base', 'theirs')
    for name, text in zip(names, (mine, base, theirs)):
        (folder / name).write_text(text)
    done = subprocess.run(
        ['git', 'merge-file', '-p', '--ours', *names],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    counted = subprocess.run(
        ['git', 'merge-file', '-p', *names], cwd=folder, capture_output=True
    )
    return done.stdout, counted.returncode


def test_edits_apart_from_each_other_as_git_merges_them(tmp_path):
    randomly = random.Random(0)
    for _ in range(12):
        lines = [f'line {i}\n' for i in range(30)]
        sides = []
        for start in randomly.sample(range(1, 28, 4), 4):
            sides.append((start, randomly.choice(['change', 'add', 'drop'])))
        mine, theirs = list(lines), list(lines)
        for side, edits in ((mine, sides[:2]), (theirs, sides[2:])):
            for start, kind in sorted(edits, reverse=True):
                new = [f'{kind} {start} {randomly.random()}\n']
                end = start + (kind != 'add')
                side[start:end] = [] if kind == 'drop' else new
        texts = [''.join(text) for text in (lines, mine, theirs)]
        merged, conflicts = merge(*texts)
        expected, count = git_merge(tmp_path, *texts)
        assert count == 0 == len(conflicts)
        assert merged == expected


def test_conflict_keeps_the_side_of_the_user(tmp_path):
    texts = ('a\nb\nc\n', 'a\nmine\nmore\nc\n', 'a\ntheirs\nc\n')
    merged, conflicts = merge(*texts)
    expected, count = git_merge(tmp_path, *texts)
    assert merged == expected == texts[1]
    assert count == len(conflicts) == 1
    (conflict,) = conflicts
    assert conflict.line == 2
    assert conflict.mine == ['mine\n', 'more\n']
    assert conflict.theirs == ['theirs\n']


def test_neighbouring_lines_are_no_conflict():
    merged, conflicts = merge('a\nb\n', 'x\nb\n', 'a\ny\n')
    assert (merged, conflicts) == ('x\ny\n', [])


@pytest.mark.parametrize('text', ['', 'a\n', 'a\nb'])
def test_one_side_that_changed_nothing(text):
    assert merge('base\n', 'base\n', text) == (text, [])
    assert merge('base\n', text, 'base\n') == (text, [])
    assert merge('base\n', text, text) == (text, [])
