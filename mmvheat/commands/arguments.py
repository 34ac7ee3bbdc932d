"""Arguments that several command lines have."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import DictAction
from mmengine.device import get_device

from mmvheat.errors import UserError

_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


class ConfigOptions(DictAction):
    """``--cfg-options``: KEY=VALUE, where a path may hold spaces and brackets.

    mmengine's ``DictAction`` takes all spaces out of a value.
    """

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Add the options to those before."""
        super().__call__(parser, namespace, [], option_string)
        options = getattr(namespace, self.dest)
        for text in values:
            key, is_option, value = text.partition('=')
            if not is_option:
                parser.error(
                    f'{option_string} expects KEY=VALUE, but came {text!r}'
                )
            value = value.strip('\'"')
            is_list = ',' in value or value[:1] in ('(', '[')
            parse = (
                self._parse_iterable if is_list else self._parse_int_float_bool
            )
            try:
                options[key] = parse(value)
            except AssertionError as error:
                parser.error(f'{option_string} {text}: {error}')


def parse_device(name: str) -> str:
    """Check the name of a device.

    Raises:
        ArgumentTypeError: It is none, or not there.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).partition('\n')[0]
        raise ArgumentTypeError(
            f'{name} is no device of this machine: {reason}'
        ) from error
    return name


OPTIONS = {
    '--amp': dict(
        nargs='?',
        const='bf16',
        choices=['bf16', 'fp16'],
        help='mixed precision; bf16 unless fp16 is named',
    ),
    '--cfg-options': dict(
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='change settings of the config, e.g. model.backbone.arch=small',
    ),
    '--device': dict(
        type=parse_device,
        default=get_device(),
        help='cpu, cuda or cuda:N (default: a GPU if there is one)',
    ),
    '--launcher': dict(
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes were started; set by dist_*.sh and slurm_*.sh',
    ),
}


def add_options(parser: ArgumentParser, *names: str) -> None:
    """Add options of :data:`OPTIONS` to a parser."""
    for name in names:
        parser.add_argument(name, **OPTIONS[name])


def list_images(path: str) -> dict[str, str]:
    """Find an image, or those below a folder.

    Returns:
        dict[str, str]: From sorted names below the folder to paths.

    Raises:
        UserError: There is no such path, or no image in it.
    """
    root = Path(path)
    if root.is_file():
        return {root.name: path}
    if not root.is_dir():
        raise UserError(
            f'{path} does not exist; give an image or a folder of images.'
        )
    names = [
        str(file.relative_to(root))
        for file in root.rglob('*')
        if file.suffix.lower() in _EXTENSIONS
    ]
    if not names:
        raise UserError(
            f'The folder {path} holds no image ({", ".join(_EXTENSIONS)}).'
        )
    return {name: str(root / name) for name in sorted(names)}
