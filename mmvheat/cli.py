"""``mmvheat``: what users run most, as one installed command.

``mmvheat train ...`` and ``tools/train.py ...`` are the same.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from typing import NamedTuple


class Command(NamedTuple):
    """A sub-command.

    Attributes:
        about (str): What it does.
        module (str): Where its ``main`` function is.
        examples (str): What to show after ``--help``.
    """

    about: str
    module: str
    examples: str


COMMANDS = {
    'new': Command(
        'look at your data and write a project that trains on them',
        'mmvheat.projects.command',
        '',  # its own help has them
    ),
    'train': Command(
        'train a config',
        'mmvheat.commands.train',
        """\
  mmvheat train my_config.py
  mmvheat train my_config.py --amp --resume
  mmvheat train my_config.py --cfg-options train_dataloader.batch_size=4""",
    ),
    'test': Command(
        'test a checkpoint',
        'mmvheat.commands.test',
        """\
  mmvheat test my_config.py work_dirs/my_config/epoch_12.pth
  mmvheat test my_config.py CHECKPOINT --tta --show-dir painted""",
    ),
    'infer': Command(
        'draw the predictions of a model on images',
        'mmvheat.commands.infer',
        """\
  mmvheat infer photos/ --config my_config.py --checkpoint CHECKPOINT \\
      --out-dir predictions""",
    ),
    'convert': Command(
        'convert a checkpoint for another image size and task',
        'mmvheat.checkpoint.command',
        """\
  mmvheat convert --pt_pth vHeat_tiny.pth --pt_size 224 \\
      --tg_pth vHeat_tiny_512.pth --tg_size 512
  mmvheat convert --pt_pth vHeat_tiny.pth --inspect""",
    ),
    'heat': Command(
        'show where heat flows in an image',
        'mmvheat.commands.heat',
        """\
  mmvheat heat my_config.py CHECKPOINT photo.jpg""",
    ),
    'robustness': Command(
        'test a model under corruptions and on shifted data',
        'mmvheat.robustness.command',
        """\
  mmvheat robustness my_config.py CHECKPOINT --data corruptions
  mmvheat robustness --compare A.json B.json --out-dir comparison""",
    ),
    'export': Command(
        'write a model as one file that runs without OpenMMLab',
        'mmvheat.export.command',
        """\
  mmvheat export my_config.py CHECKPOINT model.onnx
  mmvheat export my_config.py CHECKPOINT model.onnx --dynamic --int8""",
    ),
    'zoo': Command(
        'list configs and their published figures',
        'mmvheat.zoo',
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
        sys.argv = [f'mmvheat {name}', *arguments]
        run(name)
    else:
        known = ', '.join([*COMMANDS, 'completion'])
        print(
            f'mmvheat: error: {name!r} is no command, expected is one of '
            f'{known}; see mmvheat --help.',
            file=sys.stderr,
        )
        sys.exit(2)


def run(name: str) -> None:
    """Run a sub-command with the options of ``sys.argv``.

    Args:
        name (str): A key of :data:`COMMANDS`.
    """
    command = COMMANDS[name]
    # Said by whatever imports mmengine.
    warnings.filterwarnings('ignore', '.*pkg_resources')
    from mmvheat.errors import run_main

    try:
        # What is imported may say that something is missing.
        run_main(lambda: importlib.import_module(command.module).main())
    except SystemExit:
        if command.examples and {'-h', '--help'} & set(sys.argv[1:]):
            print(f'\nexamples:\n{command.examples}')
        raise


if __name__ == '__main__':
    main()
