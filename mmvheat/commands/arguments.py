"""Arguments that several command lines have."""

from __future__ import annotations

import os
import os.path as osp
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from mmengine.config import DictAction
from mmengine.device import get_device

from mmvheat.errors import UserError

_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


class ConfigOptions(DictAction):
    """``--cfg-options``: KEY=VALUE, where a path may hold spaces.

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
            is_list = any(char in value for char in ',([')
            parse = (
                self._parse_iterable if is_list else self._parse_int_float_bool
            )
            options[key] = parse(value.strip('\'"'))


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


def list_images(path: str) -> tuple[str, list[str]]:
    """Find the images below ``path``.

    Args:
        path (str): An image or a folder.

    Returns:
        tuple[str, list[str]]: The root folder, and the images in it as
        sorted relative paths.

    Raises:
        UserError: There is no such path, or no image in it.
    """
    if osp.isfile(path):
        return osp.split(path)[0], [osp.basename(path)]
    if not osp.isdir(path):
        raise UserError(
            f'{path} does not exist; give an image or a folder of images.'
        )
    names = [
        osp.relpath(osp.join(folder, name), path)
        for folder, _, files in os.walk(path)
        for name in files
        if name.lower().endswith(_EXTENSIONS)
    ]
    if not names:
        raise UserError(
            f'The folder {path} holds no image ({", ".join(_EXTENSIONS)}).'
        )
    return path, sorted(names)
