"""Python values as the text of a config, in lines of 79 columns."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import wrap

WIDTH = 79


class Code(str):
    """An expression that stands in the text as it is."""

    __slots__ = ()


def assign(name: str, value: object) -> list[str]:
    """The lines of ``name = value``."""
    return _fold(f'{name} = ', value, 0, '')


def comment(*sentences: str) -> list[str]:
    """Sentences as lines that begin with #."""
    return wrap(
        ' '.join(sentences),
        WIDTH,
        initial_indent='# ',
        subsequent_indent='# ',
        break_long_words=False,
        break_on_hyphens=False,
    )


def _inline(value: object) -> str:
    if isinstance(value, Code):
        return str(value)
    if isinstance(value, dict):
        starred = value.get('**')
        words = [_inline(starred)] if starred is not None else []
        words += [f'{k}={_inline(v)}' for k, v in value.items() if k != '**']
        return f'dict({", ".join(words)})'
    if isinstance(value, list):
        return f'[{", ".join(map(_inline, value))}]'
    if isinstance(value, tuple):
        end = ',' if len(value) == 1 else ''
        return f'({", ".join(map(_inline, value))}{end})'
    return repr(value)


def _fold(start: str, value: object, indent: int, end: str) -> list[str]:
    """``start value end``, folded where it is too long for a line."""
    text = f'{" " * indent}{start}{_inline(value)}{end}'
    if len(text) <= WIDTH or not isinstance(value, (dict, list, tuple)):
        return [text]
    inner = indent + 4
    if isinstance(value, dict):
        text = f'{" " * inner}{_inline(value)[5:-1]}'
        if len(text) <= WIDTH:
            around = f'{" " * indent}{start}dict('
            return [around, text, f'{" " * indent}){end}']
        lines = [f'{" " * indent}{start}dict(']
        for key, item in value.items():
            head = '' if key == '**' else f'{key}='
            lines += _fold(head, item, inner, ',')
        return [*lines, f'{" " * indent}){end}']
    left, right = '[]' if isinstance(value, list) else '()'
    lines = [f'{" " * indent}{start}{left}']
    if any(isinstance(item, dict) for item in value):
        for item in value:
            lines += _fold('', item, inner, ',')
    else:
        lines += _fill((f'{_inline(item)},' for item in value), inner)
    return [*lines, f'{" " * indent}{right}{end}']


def _fill(words: Iterable[str], indent: int) -> list[str]:
    lines, line = [], ' ' * indent
    for word in words:
        gap = ' ' if line.strip() else ''
        if len(line) + len(gap) + len(word) > WIDTH and line.strip():
            lines.append(line)
            line, gap = ' ' * indent, ''
        line += gap + word
    return [*lines, line]
