"""The files of a data set, found without changing any."""

from __future__ import annotations

import os
import os.path as osp
import re
import unicodedata
from collections import defaultdict
from functools import cached_property

from mmvheat.errors import UserError

from .records import DataSet, Findings, Sample

IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
SPLIT_WORDS = dict(
    train='train', training='train', val='val', valid='val', test='test'
)
SPLIT_WORDS.update(validation='val', testing='test')
_SPLIT = re.compile(
    r'(?:^|[^a-z])(train|training|val|valid|validation|test|testing)'
    r'(?:[^a-z]|$)'
)


class Folder:
    """The files below a folder.

    Attributes:
        root (str): Its absolute path.
        files (list[str]): Sorted paths, relative to ``root``.
        findings (Findings): What is odd about the files, and in them.

    Raises:
        UserError: There is no such folder, or nothing in it.
    """

    def __init__(self, root: str) -> None:
        self.root = osp.abspath(root)
        self.findings = Findings()
        self.report = self.findings.add
        if not osp.isdir(root):
            raise UserError(
                f'{root} does not exist; give the folder of your data.'
            )
        if not os.access(root, os.R_OK | os.X_OK):
            raise UserError(f'The folder {root} may not be read.')
        self.files = sorted(self._walk())
        if not self.files:
            raise UserError(
                f'The folder {root} is empty; give the folder that holds '
                'images and labels.'
            )
        if not os.access(root, os.W_OK):
            self.report(
                'read-only folder',
                root,
                'it may not be written to',
                'nothing needs to be: your files are only read',
            )

    def _walk(self) -> list[str]:
        """List files; links are followed, each folder is entered once."""
        files, entered = [], set()
        for folder, folders, names in os.walk(self.root, followlinks=True):
            real = osp.realpath(folder)
            inside = osp.relpath(folder, self.root)
            if real in entered:
                self.report(
                    'folder linked twice',
                    inside,
                    f'its target {real} was looked at already',
                    'looked at once',
                )
                folders.clear()
                continue
            entered.add(real)
            folders[:] = sorted(
                name for name in folders if not _is_hidden(name)
            )
            for name in names:
                path = osp.normpath(osp.join(inside, name))
                if _is_hidden(name) or not self._is_usable(path):
                    continue
                files.append(path)
        return files

    def _is_usable(self, path: str) -> bool:
        full = osp.join(self.root, path)
        if osp.islink(full):
            if not osp.exists(full):
                self.report('broken link', path, 'its target is gone')
                return False
            self.report('symbolic link', path, 'a link to a file', 'followed')
        try:
            path.encode()
            is_plain = path == path.strip() and path.isprintable()
        except UnicodeEncodeError:
            is_plain = False
        if not is_plain:
            self.report(
                'name that no list can hold',
                repr(path),
                'it begins or ends with a space, or is no printable UTF-8',
                'left out; rename the file',
            )
        return is_plain

    def with_suffix(self, *suffixes: str) -> list[str]:
        """The files that end in one of ``suffixes``, whatever their case."""
        return [f for f in self.files if f.lower().endswith(suffixes)]

    @cached_property
    def images(self) -> list[str]:
        """All images."""
        return self.with_suffix(*IMAGES)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for image in self.images:
            name = _compose(osp.basename(image))
            found[name].append(image)
            if osp.splitext(name)[0] != name:
                found[osp.splitext(name)[0]].append(image)
        return found

    def image_for(self, name: str, near: str) -> str | None:
        """Find the image that a label file means.

        Args:
            name (str): A path as the label file has it, or a stem.
            near (str): The label file, relative to the root.

        Returns:
            str | None: The image, relative to the root; of several that have
            the name the one whose path shares most with both. None if there
            is none, or no single best.
        """
        name = _compose(name.replace('\\', '/'))
        parts = name.split('/')
        found = self._by_name.get(parts[-1]) or self._by_name.get(
            osp.splitext(parts[-1])[0], []
        )
        if len(found) < 2:
            return found[0] if found else None
        asked = _compose(osp.normpath(osp.join(osp.dirname(near), name)))
        for place in (asked, osp.normpath(name)):
            for path in found:
                if _compose(path) == place:
                    return path
        around = set(near.split('/')[:-1])
        split = split_of(near)
        ranked = sorted(
            (
                (
                    shared_end(_compose(path), name),
                    split_of(path) == split,
                    len(around.intersection(path.split('/')[:-1])),
                    path,
                )
                for path in found
            ),
            reverse=True,
        )
        best, second = ranked[:2]
        return None if best[:3] == second[:3] else best[3]

    def full(self, path: str) -> str:
        """The absolute path of a file."""
        return osp.join(self.root, path)

    def data_set(
        self, kind: str, task: str, classes: list[str], samples: list[Sample]
    ) -> DataSet:
        """What was read from here, in the format ``kind``."""
        return DataSet(self.root, kind, task, classes, samples, self.findings)

    @cached_property
    def listed_splits(self) -> dict[str, str]:
        """Splits by stem, as ``ImageSets/*/train.txt`` and others have them.

        'trainval' stands for images that are shared out here, and counts
        where no list names train or val.
        """
        order, lists, splits = ('trainval', 'train', 'val', 'test'), [], {}
        for path in self.with_suffix('.txt'):
            folder, name = osp.split(path.lower())
            split = name.removesuffix('.txt')
            if 'imagesets' in folder and split in order:
                where = folder if split != 'trainval' else ''  # the first
                lists.append((where, order.index(split), path))
        for _, index, path in sorted(lists):
            splits.update(dict.fromkeys(self._read_list(path), order[index]))
        if not {'train', 'val'}.isdisjoint(splits.values()):
            splits = {k: v for k, v in splits.items() if v != 'trainval'}
        return splits

    def _read_list(self, path: str) -> set[str]:
        """The stems of images that a list names, one a line."""
        stems = {osp.splitext(osp.basename(image))[0] for image in self.images}
        lines = [line.strip() for line in read_lines(self.full(path))]
        lines = [line for line in lines if line]
        named = set()
        for line in lines:
            stem, suffix = osp.splitext(osp.basename(line))
            stem = stem if suffix.lower() in IMAGES else osp.basename(line)
            # In lists of one class, -1 or 1 follows.
            named.add(stem if stem in stems else line.split()[0])
        if lines and not named & stems:
            self.report(
                'list that names no image',
                path,
                f'none of its {len(lines)} lines, the first is {lines[0]!r}',
                'not used',
            )
        return named & stems

    def split_for(self, image: str, label: str = '') -> str:
        """The split of an image by lists, or by the names of folders."""
        stem = osp.splitext(osp.basename(image))[0]
        if self.listed_splits:
            return self.listed_splits.get(stem, '')
        return split_of(image, files=False) or split_of(label)


def split_of(path: str, files: bool = True) -> str:
    """The split that a path names: 'train', 'val', 'test' or ''.

    Args:
        path (str): A relative path; the last folder that names one counts.
        files (bool): Whether the name of the file counts. Defaults to True.
    """
    parts = path.lower().split('/')
    for part in reversed(parts if files else parts[:-1]):
        found = _SPLIT.search(part)
        if found:
            return SPLIT_WORDS[found[1]]
    return ''


def read_lines(path: str) -> list[str]:
    """The lines of a text file in UTF-8, with or without its mark."""
    with open(path, encoding='utf-8-sig', errors='replace') as file:
        return file.read().splitlines()


def _is_hidden(name: str) -> bool:
    return name.startswith('.') or name == '__MACOSX'


def _compose(name: str) -> str:
    """A name with letters like é in one piece, which macOS takes apart."""
    return unicodedata.normalize('NFC', name)


def shared_end(first: str, second: str) -> int:
    """How many names at the ends of two paths are the same."""
    ends = [path.split('/')[::-1] for path in (first, second)]
    return len(osp.commonprefix(ends))
