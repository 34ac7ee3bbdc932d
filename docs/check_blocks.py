"""Check every block of code in the documentation, ``make docs``.

In READMEs and pages alike:

- A command of this repository must exist: tools, their options as ``--help``
  lists them, targets of ``make``, configs and tests that it names.
- A Python block with ``_base_`` is a config: it is read as a run reads it, and
  its backbone is built.
- Any other Python block must compile. The cells of tutorials are run by
  Sphinx.
- Behind ``<!-- run -->`` a Python block is run; behind ``<!-- upstream -->`` a
  command belongs to another project and is left alone.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import re
import runpy
import shlex
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(
    r'^(?P<indent> *)```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^(?P=indent)```',
    re.M | re.S,
)
# Commands that are not ours. One that is missing here is a mistake, or new.
OTHERS = re.compile(
    'apt|basename|cat|cd|cp|curl|cut|docker|echo|eval|export|git|grep|ln|ls|'
    'mim|mkdir|mv|pip|pre-commit|printf|sed|source|tail'
)
FOLDERS = ('configs/', 'demo/', 'docs/', 'requirements/', 'tests/', 'tools/')


class Block(NamedTuple):
    """A block of code: where it stands, what it is, and its mark."""

    path: Path
    line: int
    language: str
    text: str
    mark: str


def find_blocks() -> Iterator[Block]:
    """All blocks of bash and Python in the Markdown of the repository."""
    paths = [
        *ROOT.glob('*.md'),
        *ROOT.glob('configs/*/*.md'),
        *(ROOT / 'docs').rglob('*.md'),
    ]
    for path in sorted(paths):
        if {'generated', '_build'} & set(path.relative_to(ROOT).parts):
            continue
        text = path.read_text()
        for match in FENCE.finditer(text):
            before = text[: match.start()].rstrip().rsplit('\n', 1)[-1]
            mark = re.fullmatch(r'\s*<!-- (run|upstream) -->', before)
            code = match['text']
            language = match['language']
            if language == '{code-cell}':
                language = 'bash' if code.startswith('%%bash') else 'cell'
                code = code.removeprefix('%%bash\n')
            yield Block(
                path,
                text[: match.start()].count('\n') + 1,
                language,
                code,
                mark[1] if mark else '',
            )


def check_block(block: Block, *, options: bool = True) -> None:
    """Check one block.

    Args:
        block (Block): The block.
        options (bool): Ask tools for their options and read configs, which
            imports all of OpenMMLab. Defaults to True.

    Raises:
        ValueError: If something in it does not exist.
    """
    if block.mark == 'upstream':
        return
    if block.language == 'bash':
        for command in split_commands(block.text):
            check_command(command, options)
    elif block.language in ('python', 'cell'):
        ast.parse(block.text)
        if block.mark == 'run':
            exec(compile(block.text, str(block.path), 'exec'), {})
        elif '_base_ =' in block.text and options:
            check_config(block.text)


# --- commands ----------------------------------------------------------------


def split_commands(text: str) -> Iterator[list[str]]:
    """The words of every command of a script, without redirections."""
    text = re.sub(r"<<'(\w+)'\n.*?^\1$", '', text, flags=re.M | re.S)
    for line in text.replace('\\\n', ' ').split('\n'):
        lexer = shlex.shlex(line, posix=True, punctuation_chars='|&;()<>')
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ';']:
            if set(word) <= set('|&;()'):
                if words:
                    yield words
                words = []
            else:
                words.append(word)


def check_command(words: list[str], options: bool) -> None:
    """Check what a command names."""
    if words[:1] == ['for']:  # what it repeats is checked
        return
    while words and re.match(r'\w+=|(do|done)$', words[0]):
        words = words[1:]
    if not words:
        return
    name, *arguments = words
    for word in words:
        plain = word.split(':')[-1] if word.startswith('./') else word
        if plain.startswith(FOLDERS) and not re.search(r'[*{$]', plain):
            stem = Path(plain).stem
            if not (stem.isupper() or (ROOT / plain).exists()):
                raise ValueError(f'{plain} does not exist')
    if name == 'make':
        check_make(arguments)
    elif name == 'mmvheat':
        check_mmvheat(arguments, options)
    elif name == 'interpolate4downstream':
        check_options('interpolate4downstream.py', arguments, options)
    elif re.fullmatch(r'(.venv/bin/)?python', name):
        if arguments[:1] == ['tools/dist_launch.py']:
            # Options of torchrun, then the tool with its own.
            tools = [i for i, a in enumerate(arguments) if a.endswith('.py')]
            arguments = arguments[tools[1] :]
        if arguments and arguments[0].endswith(('.py', 'benchmark')):
            tool = re.sub(r'^\$tools/', 'tools/', arguments[0])
            check_options(tool, arguments[1:], options)
    elif name.startswith('tools/') and name.endswith('.sh'):
        task = 'train' if 'train' in name else 'test'
        check_options(f'tools/{task}.py', arguments, options)
    elif not OTHERS.fullmatch(name.removeprefix('.venv/bin/')):
        raise ValueError(f'{name} is no command that check_blocks.py knows')


def check_make(arguments: list[str]) -> None:
    """Check targets of the Makefile."""
    targets = re.findall(r'^([a-z-]+):', (ROOT / 'Makefile').read_text(), re.M)
    for word in arguments:
        if re.fullmatch('[a-z-]+', word) and word not in targets:
            raise ValueError(f'make has no target {word}')


def check_mmvheat(arguments: list[str], options: bool) -> None:
    """Check a sub-command of ``mmvheat`` and its options."""
    from mmvheat import cli

    name = arguments[0] if arguments else '--help'
    if name in ('completion', '--help', '--version', 'COMMAND'):
        return
    if name not in cli.COMMANDS:
        raise ValueError(f'mmvheat has no command {name}')
    if options:
        compare(arguments[1:], help_of_command(name), name)


def check_options(tool: str, arguments: list[str], options: bool) -> None:
    """Check a tool of the repository and its options."""
    if Path(tool).stem.isupper():
        return
    path = ROOT / tool
    if not path.exists():
        raise ValueError(f'{tool} does not exist')
    if options and path.is_relative_to(ROOT / 'tools'):
        compare(arguments, help_of_tool(path), tool)


def compare(arguments: list[str], known: set[str], tool: str) -> None:
    """Refuse options that the help of a tool does not name."""
    for word in arguments:
        option = word.split('=')[0]
        if re.fullmatch(r'--[a-z][\w-]*', option) and option not in known:
            raise ValueError(f'{tool} has no option {option}')


@functools.cache
def help_of_command(name: str) -> set[str]:
    """The options of a sub-command of ``mmvheat``."""
    from mmvheat import cli

    def run(arguments: list[str]) -> None:
        sys.argv = [name, *arguments]
        cli.run(name)

    return help_of(run)


@functools.cache
def help_of_tool(path: Path) -> set[str]:
    """The options of a tool."""

    def run(arguments: list[str]) -> None:
        sys.argv = [str(path), *arguments]
        runpy.run_path(str(path), run_name='__main__')

    return help_of(run)


def help_of(run: Callable[[list[str]], None]) -> set[str]:
    """The options that ``--help`` prints, all tools in one process."""
    saved, saved_main = list(sys.argv), sys.modules['__main__']
    saved_path = list(sys.path)
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), warnings.catch_warnings():
            run(['--help'])
    except SystemExit:
        pass
    finally:
        sys.argv[:], sys.path[:] = saved, saved_path
        sys.modules['__main__'] = saved_main
    found = set(re.findall(r'(?<![\w-])--[a-z][\w-]*', out.getvalue()))
    if not found:
        raise ValueError('--help printed nothing')
    return found


# --- configs -----------------------------------------------------------------


def check_config(text: str) -> None:
    """Read a config and build its backbone, without memory for weights."""
    import torch
    from mmengine.config import Config
    from mmengine.registry import MODELS

    import mmvheat  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'my_config.py'
        path.write_text(text)
        cfg = Config.fromfile(path)
    backbone = cfg.get('model', {}).get('backbone')
    if backbone:
        backbone.pop('init_cfg', None)
        with torch.device('meta'):
            MODELS.build(backbone)


def main() -> int:
    """Check all blocks; return the exit status."""
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated')
    count, failed = 0, 0
    for block in find_blocks():
        count += block.language in ('bash', 'python', 'cell')
        try:
            check_block(block)
        except Exception as error:
            failed += 1
            where = f'{block.path.relative_to(ROOT)}:{block.line}'
            print(f'{where}: {type(error).__name__}: {error}')
    print(f'{count} blocks of code checked, {failed} failed')
    return int(failed > 0)


if __name__ == '__main__':
    sys.exit(main())
