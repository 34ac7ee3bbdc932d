"""Look at a data set and write a project for it, or bring one up to date."""

from __future__ import annotations

import json
import os
import os.path as osp
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote

from mmvheat.checkpoint.writer import replace_file
from mmvheat.errors import UserError
from mmvheat.version import __version__

from .clean import clean, keep_outlines
from .config_text import recipe_scale, write_config
from .counting import summarize
from .fitting import Fit, fit
from .images import check_images
from .merge import merge, show_merge
from .models import Base, choose_base
from .painting import paint_samples
from .palette import choose_palette
from .readers import read_data, root_of_file
from .readme import write_readme
from .records import DataSet
from .report import advise, findings_csv, findings_table, write_report
from .splits import list_splits, read_splits, split
from .written_labels import write_labels

STATE = 'project.json'
_SPLITS = 'labels/splits.csv'


@dataclass
class Options:
    """What the user asked for; kept in the project for ``--update``."""

    data: str  # an absolute path
    format: str | None = None  # a key of ``READERS``
    model: str | None = None  # the beginning of a config's name
    weights: str | None = None  # a checkpoint, or 'none'
    batch: int | None = None  # images a GPU and step
    gpus: int = 1  # that train together
    seed: int = 0  # of the split and of the samples shown
    title: str = ''  # name of the data, which stays when they move

    def __post_init__(self) -> None:
        self.title = self.title or title_of(self.data)


@dataclass
class Look:
    """What came out of looking at the data."""

    data: DataSet
    base: Base
    fit: Fit
    sentences: list[str]
    drawn: bool
    title: str


def look(options: Options, known: dict[str, str], near: str = '.') -> Look:
    """Read the data, repair what can be repaired, choose everything.

    Args:
        options (Options): What the user asked for.
        known (dict[str, str]): The splits of an earlier version, by image.
        near (str): The project, where weights may lie. Defaults to '.'.
    """
    data, sentence = read_data(options.data, options.format)
    print(f'{options.data}: {sentence}')
    base = choose_base(data.task, options.model, options.weights, near)
    check_images(data)
    clean(data)
    if base.task == 'instances' and data.task == 'detection':
        keep_outlines(data)
    data.task = base.task
    how, drawn = split(data, options.seed, known)
    _check_labels(data)
    data.palette = data.palette or choose_palette(data.classes)
    chosen = fit(data, recipe_scale(base), base.size, options.gpus)
    if options.batch:
        chosen.batch = options.batch
        chosen.reasons['batch'] = 'As asked for by --batch.'
    sentences = [f'{sentence}.', how]
    return Look(data, base, chosen, sentences, drawn, options.title)


def title_of(path: str) -> str:
    """A name for the data that is fit for a file's name."""
    name = osp.splitext(osp.basename(osp.abspath(path)))[0]
    return re.sub(r'[^\w-]+', '-', name).strip('-') or 'data'


def _check_labels(data: DataSet) -> None:
    has_objects = data.task in ('detection', 'instances')
    if has_objects and not any(s.things for s in data.of_split('train')):
        raise UserError(
            f'The train images of {data.root} show no object; '
            'labels are needed for at least one.' + data.findings.main_reason()
        )
    if not has_objects and len(data.classes) < 2:
        raise UserError(
            f'{data.root} has the class {data.classes[0]!r} alone, but '
            f'{data.task} needs two to tell apart; add images of another.'
            + data.findings.main_reason()
        )


def create(options: Options, out: str) -> None:
    """Write a project, whole or not at all.

    Raises:
        UserError: The target exists or lies in the data; nothing usable is
            in the data.
    """
    target = Path(osp.abspath(out))
    _check_target(target, options.data)
    found = look(options, {})
    with _folder_beside(target) as folder:
        texts = _write(found, options, folder, target)
        _write_state(folder, options, texts)
        folder.rename(target)
    _tell(found, target, texts)


def _check_target(target: Path, data: str) -> None:
    if target.exists() or target.is_symlink():
        raise UserError(
            f'{target} exists and is not overwritten; give another --out, '
            'or bring a project up to date with --update.'
        )
    root = data if osp.isdir(data) else root_of_file(data)
    if Path(osp.realpath(target)).is_relative_to(osp.realpath(root)):
        raise UserError(
            f'--out {target} lies in your data, which are not changed; give '
            'a folder outside.'
        )
    if "'" in str(target) or '"' in str(target) or '\\' in str(target):
        raise UserError(
            f'--out {target} holds a quote or a backslash, which a config '
            'cannot; give another.'
        )


def _write(
    found: Look, options: Options, folder: Path, target: Path
) -> dict[str, str]:
    """Fill a folder; return the texts that a user may edit."""
    texts = write_config(found.data, found.base, found.fit, found.title)
    config = next(iter(texts))
    texts['README.md'] = write_readme(
        found.data, found.base, found.fit, found.title, config, target
    )
    for name, text in texts.items():
        (folder / name).write_text(text, encoding='utf-8')
    (folder / 'labels').mkdir()
    write_labels(found.data, folder / 'labels')
    if found.drawn:
        (folder / _SPLITS).write_text(list_splits(found.data), 'utf-8')
    report = folder / 'report'
    report.mkdir()
    pictures = paint_samples(folder / config, report, options.seed)
    page = write_report(
        found.data, found.fit, found.title, found.sentences, pictures
    )
    (report / 'report.md').write_text(page, 'utf-8')
    table = findings_csv(found.data.findings)
    (report / 'findings.csv').write_text(table, 'utf-8')
    return texts


def _write_state(
    folder: Path, options: Options, texts: dict[str, str]
) -> None:
    state = dict(
        about='Kept for `mmvheat new --update`; not meant to be edited.',
        version=__version__,
        options=asdict(options),
        generated=texts,
    )
    text = json.dumps(state, indent=1, ensure_ascii=False)
    with replace_file(folder / STATE) as partial:
        partial.write_text(text, encoding='utf-8')


def read_state(out: str) -> dict:
    """What the project of a folder was written with.

    Raises:
        UserError: The folder holds no project.
    """
    try:
        state = json.loads(Path(out, STATE).read_text(encoding='utf-8'))
        return dict(
            options=Options(**state['options']),
            generated=dict(state['generated']),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{out} holds no project to update ({STATE}: {error}); give one '
            'that `mmvheat new` wrote, or leave --update out.'
        ) from None


def update(options: Options, out: str, generated: dict[str, str]) -> bool:
    """Bring a project up to date with its data, keeping the user's edits.

    Args:
        options (Options): What the user asks for now.
        out (str): The project.
        generated (dict[str, str]): The texts as they were written last.

    Returns:
        bool: Whether every change went in without a conflict.
    """
    target = Path(osp.abspath(out))
    found = look(options, read_splits(target / _SPLITS), str(target))
    clean_merge = True
    with _folder_beside(target) as folder:
        texts = _write(found, options, folder, target)
        merged = {}
        for name, text in texts.items():
            file = target / name
            mine = file.read_text('utf-8') if file.exists() else ''
            base = generated.get(name, mine) if file.exists() else ''
            merged[name], conflicts = merge(base, mine, text)
            show_merge(name, mine, merged[name], conflicts)
            clean_merge &= not conflicts
        for name, text in merged.items():
            with replace_file(target / name) as partial:
                partial.write_text(text, encoding='utf-8')
        for name in ('labels', 'report'):
            _replace_folder(target / name, folder / name)
        if not found.drawn:  # or the next update would obey an old one
            (target / _SPLITS).unlink(missing_ok=True)
        _write_state(target, options, texts)
    for name in generated.keys() - texts.keys():
        print(f'{target / name} is not written any more; it was left alone.')
    _tell(found, target, texts)
    return clean_merge


def _replace_folder(old: Path, new: Path) -> None:
    """Put ``new`` into the place of ``old``; other files of it stay."""
    aside = old.with_name(f'.{old.name}.old')
    shutil.rmtree(aside, ignore_errors=True)
    if old.exists():
        old.rename(aside)
    new.rename(old)
    if aside.exists():
        for path in aside.iterdir():
            if not (old / path.name).exists():  # the user's
                path.rename(old / path.name)
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """Lend an empty folder beside the target; remove it after."""
    folder = target.parent / f'.{target.name}.{os.getpid()}'
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(
            f'{target.parent} cannot be written to ({error.strerror}); give '
            'another --out.'
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tell(found: Look, target: Path, texts: dict[str, str]) -> None:
    """Say what was found and what to do next."""
    rows = summarize(found.data)
    width = max(map(len, rows))
    for key, value in rows.items():
        print(f'  {key:<{width}}  {value}')
    for sentence in (found.sentences[-1], *advise(found.data)):
        print(sentence)
    if found.data.findings:
        print(findings_table(found.data.findings))
        print(f'All with file and line: {target}/report/findings.csv')
    if not found.base.weights and found.base.url:
        print(
            'note: no weights were found, so that training starts from '
            f'scratch. Download {found.base.url} into {target}/checkpoints '
            'and run this again with --update: that is far better.'
        )
    config = next(iter(texts))
    print(f'\nThe project is {target} (report/report.md, README.md). Next:')
    print(f'  cd {quote(str(target))}\n  mmvheat train {quote(config)}')
