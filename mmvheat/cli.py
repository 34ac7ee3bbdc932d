"""``mmvheat``: the tools as one installed command.

``mmvheat train ...`` runs ``tools/train.py ...``. A wheel has the tools in
``mmvheat/.mim``, where a checkout links to them.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parent
TOOLS = PACKAGE / '.mim/tools'


class Command(NamedTuple):
    """A sub-command.

    Attributes:
        about (str): What it does.
        source (str | Path): Its tool below ``tools/``, or the module of its
            ``main`` function below the package.
        examples (str): What to show after ``--help``.
    """

    about: str
    source: str | Path
    examples: str


COMMANDS = {
    'new': Command(
        'look at your data and write a project that trains on them',
        'new_project.py',
        '',  # its own help has them
    ),
    'train': Command(
        'train a config',
        'train.py',
        """\
  mmvheat train my_config.py
  mmvheat train my_config.py --amp --resume
  mmvheat train my_config.py --cfg-options train_dataloader.batch_size=4""",
    ),
    'test': Command(
        'test a checkpoint',
        'test.py',
        """\
  mmvheat test my_config.py work_dirs/my_config/epoch_12.pth
  mmvheat test my_config.py CHECKPOINT --tta --show-dir painted""",
    ),
    'infer': Command(
        'draw the predictions of a model on images',
        'infer.py',
        """\
  mmvheat infer photos/ --config my_config.py --checkpoint CHECKPOINT \\
      --out-dir predictions""",
    ),
    'convert': Command(
        'convert a checkpoint for another image size and task',
        Path('checkpoint/command.py'),
        """\
  mmvheat convert --pt_pth vHeat_tiny.pth --pt_size 224 \\
      --tg_pth vHeat_tiny_512.pth --tg_size 512
  mmvheat convert --pt_pth vHeat_tiny.pth --inspect""",
    ),
    'heat': Command(
        'show where heat flows in an image',
        'visualization/vis_heat.py',
        """\
  mmvheat heat my_config.py CHECKPOINT photo.jpg""",
    ),
    'robustness': Command(
        'test a model under corruptions and on shifted data',
        'robustness.py',
        """\
  mmvheat robustness my_config.py CHECKPOINT --data corruptions
  mmvheat robustness --compare A.json B.json --out-dir comparison""",
    ),
    'export': Command(
        'write a model as one file that runs without OpenMMLab',
        'deployment/export.py',
        """\
  mmvheat export my_config.py CHECKPOINT model.onnx
  mmvheat export my_config.py CHECKPOINT model.onnx --dynamic --int8""",
    ),
    'zoo': Command(
        'list configs and their published figures',
        Path('zoo.py'),
        """\
  mmvheat zoo --task segmentation
  mmvheat zoo mask-rcnn --all --urls""",
    ),
}

HELP = f"""\
usage: mmvheat COMMAND ...

{{commands}}
  completion  print completion for bash or zsh

mmvheat COMMAND --help shows its options and examples.

examples:
{COMMANDS['zoo'].examples.splitlines()[0]}
  mmvheat new /data/shapes --model mask-rcnn_vheat-t --out my_project
{COMMANDS['train'].examples.splitlines()[0]}
{COMMANDS['test'].examples.splitlines()[0]}
  eval "$(mmvheat completion bash)"       # or put it into ~/.bashrc

Several GPUs: tools/dist_train.sh, or mim train mmvheat CONFIG --gpus 8 \\
--launcher pytorch."""


def main() -> None:
    """Run the sub-command that the command line names."""
    try:
        _main()
    except BrokenPipeError:  # by `mmvheat zoo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _main() -> None:
    name, *arguments = sys.argv[1:] or ['--help']
    if name in ('-h', '--help'):
        rows = (f'  {key:<10}  {c.about}' for key, c in COMMANDS.items())
        print(HELP.format(commands='\n'.join(rows)))
    elif name == '--version':
        from mmvheat.version import __version__

        print(__version__)
    elif name == 'completion':
        from mmvheat.completion import write_completion

        print(write_completion(*arguments))
    elif name in COMMANDS:
        run(name, arguments)
    else:
        known = ', '.join([*COMMANDS, 'completion'])
        print(
            f'mmvheat: error: {name!r} is no command, expected is one of '
            f'{known}; see mmvheat --help.',
            file=sys.stderr,
        )
        sys.exit(2)


def run(name: str, arguments: list[str]) -> None:
    """Run a sub-command as if its tool had been called.

    Args:
        name (str): A key of :data:`COMMANDS`.
        arguments (list[str]): What follows it on the command line.
    """
    command, path = COMMANDS[name], source_of(name)
    if not path.is_file():
        print(
            f'mmvheat: error: this installation lacks {path}, which '
            f'`mmvheat {name}` runs; install a newer mmvheat.',
            file=sys.stderr,
        )
        sys.exit(1)
    # Said by whatever imports mmengine.
    warnings.filterwarnings('ignore', '.*pkg_resources')
    sys.argv = [f'mmvheat {name}', *arguments]
    try:
        _function_of(command)()
    except SystemExit:
        if command.examples and {'-h', '--help'} & set(arguments):
            print(f'\nexamples:\n{command.examples}')
        raise


def source_of(name: str) -> Path:
    """The file that a sub-command runs."""
    source = COMMANDS[name].source
    return PACKAGE / source if isinstance(source, Path) else TOOLS / source


def _function_of(command: Command) -> Callable[[], None]:
    source = command.source
    if isinstance(source, Path):
        # By its name, so that it is the module that others import.
        module = '.'.join(['mmvheat', *source.with_suffix('').parts])

        def call() -> None:
            from mmvheat.errors import run_main

            main = importlib.import_module(module).main
            run_main(lambda: sys.exit(main()))

        return call
    path = TOOLS / source

    def call() -> None:
        # As python itself does; runpy would take the command's name away.
        sys.path.insert(0, str(path.parent))
        module = types.ModuleType('__main__')
        module.__file__ = str(path)
        sys.modules['__main__'] = module
        exec(compile(path.read_bytes(), str(path), 'exec'), vars(module))

    return call


if __name__ == '__main__':
    main()
