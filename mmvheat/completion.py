"""What a shell needs to complete ``mmvheat``."""

from __future__ import annotations

import ast
import os
import sys
from itertools import chain
from pathlib import Path

from .cli import COMMANDS


def options_of(name: str) -> list[str]:
    """The options of a sub-command, read off its source without running it.

    Args:
        name (str): A key of :data:`COMMANDS`.
    """
    _, *parts = COMMANDS[name].module.split('.')
    package = Path(__file__).parent
    text = package.joinpath(*parts).with_suffix('.py').read_text()
    nodes = [ast.parse(text)]
    if 'pictures.make_parser' in text:
        shared = ast.parse((package / 'commands/pictures.py').read_text())
        nodes += [
            node
            for node in shared.body
            if getattr(node, 'name', '') == 'make_parser'
        ]
    return sorted(
        {
            argument.value
            for node in chain.from_iterable(map(ast.walk, nodes))
            if isinstance(node, ast.Call)
            and getattr(node.func, 'attr', getattr(node.func, 'id', ''))
            in ('add_argument', 'add_options', 'add')
            for argument in node.args
            if isinstance(argument, ast.Constant)
            and str(argument.value).startswith('--')
        }
        | {'--help'}
    )


def write_completion(shell: str = '', *_: str) -> str:
    """The completion of a shell: sub-commands, their options, files.

    Args:
        shell (str): 'bash' or 'zsh'; by default that of ``$SHELL``.
    """
    shell = shell or os.path.basename(os.environ.get('SHELL', 'bash'))
    if shell not in ('bash', 'zsh'):
        print(
            f'mmvheat: error: completion is there for bash and zsh, not for '
            f'{shell!r}.',
            file=sys.stderr,
        )
        sys.exit(2)
    cases = '\n'.join(
        f'    {name}) words="{" ".join(options_of(name))}" ;;'
        for name in COMMANDS
    )
    names = ' '.join([*COMMANDS, 'completion', '--help', '--version'])
    start = ''
    if shell == 'zsh':
        start = 'autoload -U +X bashcompinit && bashcompinit\n'
    return f"""{start}_mmvheat() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" words=""
  case "$COMP_CWORD:${{COMP_WORDS[1]}}" in
    1:*) words="{names}" ;;
  esac
  [ "$COMP_CWORD" -gt 1 ] && case "${{COMP_WORDS[1]}}" in
{cases}
    completion) words="bash zsh" ;;
  esac
  COMPREPLY=()
  case "$COMP_CWORD:$word" in
    1:*|*:-*) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
    *) [ "${{COMP_WORDS[1]}}" = completion ] &&
         COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
  esac
}}
complete -o default -F _mmvheat mmvheat"""
