"""The command line of the converter, ``interpolate4downstream``."""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from .converter import convert_checkpoint, get_grid
from .layout import AVERAGED_WEIGHTS, read_checkpoint
from .publish import describe_source
from .reader import CheckpointError
from .summary import summarize_checkpoint
from .writer import check_target, write_checkpoint

DESCRIPTION = """\
Convert vHeat checkpoints for another image size and task.

The frequency value embeddings (FVEs) get the grid of --tg_size. For detection
and segmentation the result holds the backbone alone; use it in a config as

  model = dict(backbone=dict(
      type='vHeat', arch='tiny', img_size=512,
      init_cfg=dict(type='Pretrained', checkpoint='<tg_pth>')))

For classification (--task cls) it holds mmpretrain's names and the head; use
it as `load_from = '<tg_pth>'`. A conversion is not required for loading: a
vHeat backbone resizes the FVEs of any checkpoint it is given."""

EXAMPLES = """\
examples:
  python interpolate4downstream.py --pt_pth vHeat_tiny.pth --pt_size 224 \\
      --tg_pth vHeat_tiny_512.pth --tg_size 512
  python interpolate4downstream.py --pt_pth 'ckpts/vHeat_*.pth' \\
      --tg_pth ckpts/800x1344 --tg_size 800 1344
  python interpolate4downstream.py --pt_pth vHeat_tiny.pth --inspect"""


def parse_args() -> argparse.Namespace:
    """Parse the command line; a usage error exits with status 2."""
    parser = argparse.ArgumentParser(
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        '--pt_pth',
        nargs='+',
        required=True,
        metavar='FILE',
        help='pre-trained checkpoints of any layout, or quoted globs',
    )
    add(
        '--pt_size',
        nargs='+',
        type=_side,
        metavar='N',
        help='their image size, one side or H W; read from the file if '
        'omitted, checked if given',
    )
    add(
        '--tg_pth',
        metavar='PATH',
        help='target file; a folder for several checkpoints',
    )
    add(
        '--tg_size',
        nargs='+',
        type=_side,
        metavar='N',
        help='target image size, one side or H W',
    )
    add(
        '--method',
        choices=('pad', 'bicubic'),
        default='pad',
        help='pad keeps the frequency index, bicubic the normalised '
        'frequency (default: pad)',
    )
    add(
        '--task',
        choices=('det', 'seg', 'cls'),
        default='det',
        help='det and seg drop the head, cls keeps it (default: det)',
    )
    add('--ema', action='store_true', help='take the averaged weights')
    add('--force', action='store_true', help='replace existing targets')
    add('--inspect', action='store_true', help='print what the files are')
    args = parser.parse_args()
    args.pt_pth = expand_globs(args.pt_pth)
    for name in ('pt_size', 'tg_size'):
        if len(getattr(args, name) or ()) > 2:
            parser.error(f'argument --{name}: expected one side or H W')
    if args.inspect:
        if args.tg_pth or args.tg_size:
            parser.error('--inspect writes nothing: leave out --tg_*')
    elif not (args.tg_pth and args.tg_size):
        parser.error('--tg_pth and --tg_size are required')
    elif args.tg_pth.endswith('.safetensors'):
        parser.error('--tg_pth becomes a file of torch.save: name it .pth')
    elif len({*map(name_target, args.pt_pth)}) < len(args.pt_pth):
        parser.error('two of the checkpoints have the same name')
    return args


def main() -> int:
    """Convert or inspect the checkpoints; return the exit status."""
    args = parse_args()
    sources = args.pt_pth
    try:
        targets = list_targets(args, sources)
    except OSError as error:
        return report(f'cannot write {args.tg_pth}: {error.strerror}')
    failed = 0
    work = list(zip(sources, targets))
    for source, target in tqdm(work, unit='file', disable=len(work) < 2):
        try:
            if args.inspect:
                message = inspect(source, args.ema)
            else:
                message = convert(source, target, args)
        except (CheckpointError, OSError) as error:
            failed |= report(str(error))
        else:
            tqdm.write(message)
    return failed


def inspect(source: str, ema: bool) -> str:
    """Describe a checkpoint as a table."""
    rows = summarize_checkpoint(read_checkpoint(source, ema=ema))
    width = max(map(len, rows))
    return '\n'.join(f'{k:<{width}}  {v}' for k, v in rows.items()) + '\n'


def convert(source: str, target: Path, args: argparse.Namespace) -> str:
    """Convert one checkpoint and say what to do with it."""
    check_target(target, sources=(source,), force=args.force)
    checkpoint = read_checkpoint(source, ema=args.ema)
    info = checkpoint.backbone
    if args.pt_size and info.grids[0] != get_grid(to_pair(args.pt_size), 0):
        given = 'x'.join(map(str, to_pair(args.pt_size)))
        found = 'x'.join(map(str, info.img_size))
        raise CheckpointError(
            f'{source} has the FVE grids of {found}, not of --pt_size {given}'
        )
    size = to_pair(args.tg_size)
    weights = convert_checkpoint(checkpoint, size, args.method, args.task)
    meta = dict(
        describe_source(source, weights),
        source_size=list(info.img_size),
        target_size=list(size),
        method=args.method,
        task=args.task,
        averaged=checkpoint.layout in AVERAGED_WEIGHTS,
    )
    write_checkpoint(weights, target, meta=meta)
    dropped = len(checkpoint.state_dict) - len(weights)
    use = f"init_cfg=dict(type='Pretrained', checkpoint='{target}')"
    if args.task == 'cls':
        use = f"load_from = '{target}'"
    return (
        f'{target}: {len(weights)} tensors of {info}, {dropped} dropped, '
        f'{"x".join(map(str, info.img_size))} to {size[0]}x{size[1]} by '
        f'{args.method}; use it as {use}'
    )


def expand_globs(patterns: Sequence[str]) -> list[str]:
    """Expand globs; a pattern without a match stands for itself."""
    return [
        name
        for pattern in patterns
        for name in (
            (not Path(pattern).exists() and sorted(glob.glob(pattern)))
            or [pattern]
        )
    ]


def list_targets(
    args: argparse.Namespace, sources: Sequence[str]
) -> list[Path]:
    """List one target per source, in a folder if there are several."""
    if args.inspect:
        return [Path()] * len(sources)
    target = Path(args.tg_pth)
    if len(sources) == 1 and not target.is_dir():
        return [target]
    target.mkdir(parents=True, exist_ok=True)
    return [target / name_target(source) for source in sources]


def name_target(source: str) -> str:
    """Name the target of a source in a folder: what torch.save writes."""
    path = Path(source)
    is_other = path.suffix == '.safetensors'
    return path.with_suffix('.pth').name if is_other else path.name


def to_pair(size: Sequence[int]) -> tuple[int, int]:
    """Turn one side or H W into (H, W)."""
    return size[0], size[-1]


def report(message: str) -> int:
    """Print an error as argparse does and return the exit status."""
    print(f'{Path(sys.argv[0]).name}: error: {message}', file=sys.stderr)
    return 1


def _side(text: str) -> int:
    if not text.isdecimal() or int(text) < 32:
        raise argparse.ArgumentTypeError(
            f'an integer of at least 32 is expected, but got {text!r}'
        )
    return int(text)
