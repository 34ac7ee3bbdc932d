"""Share images out to train and val, where the data do not say."""

from __future__ import annotations

import csv
import io
import os.path as osp
import random
import re
from collections import Counter, defaultdict
from pathlib import Path

from mmvheat.errors import UserError

from .folder import SPLIT_WORDS
from .records import DataSet, Sample

_VAL = 5  # one image in five
_LEAST_GROUPS = 5
_FRAME = re.compile(r'^(.*?)\d+$')
_VIDEO = re.compile(r'frame|video|clip|seq|scene|vid', re.I)


def split(data: DataSet, seed: int, known: dict[str, str]) -> tuple[str, bool]:
    """Give every sample a split, and take train apart from val.

    Those of an earlier version, ``known`` by image, stay.

    Returns:
        tuple[str, bool]: How it was done, a sentence, and whether the shares
        were drawn here.

    Raises:
        UserError: There are not enough images.
    """
    if len(data.samples) < 2:
        raise UserError(
            f'{len(data.samples)} usable image(s) are left in {data.root}, '
            'expected are 2 or more, one to train on and one to test on.'
            + data.findings.main_reason()
        )
    names = {sample.split for sample in data.samples}
    drawn = 'train' not in names or names.isdisjoint(('val', 'test'))
    if not drawn or 'trainval' in names:
        _leave_out_rest(data)
    if drawn:
        how = _share_out(data, seed, known)
    elif 'val' in names:
        how = 'The data name their train and val images.'
    else:
        how = 'The data name train and test images; those of test are val.'
        for sample in data.samples:
            sample.split = 'val' if sample.split == 'test' else sample.split
    _separate(data)
    for name in ('train', 'val'):
        if not data.of_split(name):
            raise UserError(
                f'No image is left for {name} in {data.root}: '
                f'{len(data.samples)} usable images, and what is in train '
                'and val alike is left out of train.'
                + data.findings.main_reason()
            )
    return how, drawn


def list_splits(data: DataSet) -> str:
    """The text of a csv of images and splits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['image', 'split'])
    writer.writerows((s.path, s.split) for s in data.samples)
    return text.getvalue()


def read_splits(path: Path) -> dict[str, str]:
    """Read what :func:`list_splits` wrote and a user may have edited.

    Returns:
        dict[str, str]: Splits by image, {} if there is no such file.

    Raises:
        UserError: It is no such csv, or names another split.
    """
    try:
        with open(path, encoding='utf-8-sig', newline='') as file:
            reader = csv.DictReader(file)
            rows = [
                (reader.line_num, row['image'], row['split']) for row in reader
            ]
    except FileNotFoundError:
        return {}
    except (KeyError, OSError, UnicodeDecodeError) as error:
        raise UserError(
            f'{path} cannot be read ({error}); repair it, or remove it to '
            'have the shares drawn anew.'
        ) from None
    known = {}
    for line, image, word in rows:
        word = (word or '').strip()
        known[image] = SPLIT_WORDS.get(word.lower(), '')
        if word and not known[image]:
            raise UserError(
                f'{path}:{line} names the split {word!r}; expected is train, '
                'val, test, or nothing to have it drawn.'
            )
    return known


def _leave_out_rest(data: DataSet) -> None:
    """Leave out images that belong to no split, though others do."""
    for sample in data.samples:
        if not sample.split:
            data.findings.add(
                'image of no split',
                sample.path,
                'other images are named as train or val',
            )
    data.samples = [sample for sample in data.samples if sample.split]


def group_of(path: str) -> str:
    """The video that a frame is of: its path without the last number."""
    stem = osp.splitext(path)[0]
    found = _FRAME.match(stem)
    return found[1] if found else stem


def _share_out(data: DataSet, seed: int, known: dict[str, str]) -> str:
    open_ones = [s for s in data.samples if s.split != 'test']
    for sample in open_ones:
        sample.split = known.get(sample.path, '')
    groups, how = _group(open_ones, data)
    wanted = max(1, round(len(open_ones) / _VAL))
    if how == 'in order':
        cut = len(open_ones) - wanted
        for index, sample in enumerate(sorted(open_ones, key=_number_key)):
            sample.split = sample.split or ('val' if index >= cut else 'train')
        return (
            'The names are those of one video: its last fifth is val, since '
            'neighbouring frames are all but the same.'
        )
    randomly = random.Random(seed)
    by_label = defaultdict(list)
    for _, members in sorted(groups.items()):
        by_label[members[0].label].append(members)
    for label in sorted(by_label):
        _share_class(by_label[label], randomly)
    if len(groups) > 1 and not any(s.split == 'val' for s in open_ones):
        for sample in min(groups.values(), key=len):
            sample.split = 'val'
    _cover_classes(data, groups)
    text = f'One image in {_VAL} is val, drawn with the seed {seed}'
    if how == 'groups':
        text += (
            f'; the names suggest {len(groups)} sequences, each of which is '
            'in one of the two'
        )
    return f'{text}.'


def _share_class(groups: list[list[Sample]], randomly: random.Random) -> None:
    """Draw groups for val until they have their share; keep what is known."""
    total = sum(map(len, groups))
    wanted = round(total / _VAL)
    wanted = max(wanted, int(total > 1 and bool(groups[0][0].label)))
    taken = sum(s.split == 'val' for group in groups for s in group)
    order = list(groups)
    randomly.shuffle(order)
    for group in order:
        splits = {s.split for s in group} - {''}
        if splits:
            choice = 'train' if 'train' in splits else 'val'
        else:
            fits = taken + len(group) <= wanted + len(group) // 2
            choice = 'val' if taken < wanted and fits else 'train'
            taken += len(group) * (choice == 'val')
        for sample in group:
            sample.split = sample.split or choice


def _cover_classes(data: DataSet, groups: dict[str, list[Sample]]) -> None:
    """Move groups to train that show a class which train lacks."""
    names = defaultdict(set)
    for key, members in groups.items():
        names[key] = {t.name for s in members for t in s.things}
    seen = {t.name for s in data.of_split('train') for t in s.things}
    in_val = [k for k, m in sorted(groups.items()) if m[0].split == 'val']
    left = len(in_val)
    for key in in_val:
        if names[key] - seen and left > 1:  # something must stay
            seen |= names[key]
            left -= 1
            for sample in groups[key]:
                sample.split = 'train'


def _group(
    samples: list[Sample], data: DataSet
) -> tuple[dict[str, list[Sample]], str]:
    """Samples that must stay together, and why: '', groups or in order."""
    groups = defaultdict(list)
    for sample in samples:
        groups[group_of(sample.path)].append(sample)
    numbered = sum(len(m) for m in groups.values() if len(m) > 2)
    is_video = numbered * 2 > len(samples)
    how = ''
    has_labels = any(sample.label for sample in samples)
    videos = any(_VIDEO.search(osp.basename(key)) for key in groups)
    if (
        is_video
        and len(groups) >= _LEAST_GROUPS
        and (videos or not (has_labels or _are_classes(groups, data)))
    ):
        how = 'groups'
    elif is_video and len(groups) == 1 and videos and not has_labels:
        how = 'in order'
    if how == 'groups':
        joined = _join_copies(groups)
        if len(joined) >= _LEAST_GROUPS:
            return joined, how
        how = ''  # the sequences share images
    return _join_copies({sample.path: [sample] for sample in samples}), how


def _are_classes(groups: dict[str, list[Sample]], data: DataSet) -> bool:
    """Whether the groups are classes, each shown by one group alone."""
    homes = defaultdict(Counter)
    for key, members in groups.items():
        for sample in members:
            names = {thing.name for thing in sample.things}
            if data.maps:
                names = set(data.maps.count_pixels(sample.label_map))
            for name in names:
                homes[name][key] += 1
    # An image of scratches may show a patch as well, hence not all of them.
    alone = sum(
        max(c.values()) > 0.9 * sum(c.values()) for c in homes.values()
    )
    return alone * 2 > len(homes)


def _join_copies(groups: dict[str, list[Sample]]) -> dict[str, list[Sample]]:
    """Join groups that hold copies of one image."""
    home, joined = {}, {}
    for key, members in groups.items():
        homes = [home[s.digest] for s in members if s.digest in home]
        target = homes[0] if homes else key
        joined.setdefault(target, [])
        joined[target] += members
        for sample in members:
            home.setdefault(sample.digest, target)
    return joined


def _number_key(sample: Sample) -> tuple:
    parts = re.split(r'(\d+)', sample.path)
    return tuple(int(p) if p.isdigit() else p for p in parts)


def _separate(data: DataSet) -> None:
    """Find copies: within a split they stay, of val and train they do not."""
    first: dict[str, dict[str, Sample]] = defaultdict(dict)
    for sample in data.samples:
        others = first[sample.digest]
        twin = others.get(sample.split)
        if twin is not None:
            data.findings.add(
                'same image twice',
                sample.path,
                f'it has the bytes of {twin.path}',
                'kept',
            )
        others.setdefault(sample.split, sample)
    kept = []
    for sample in data.samples:
        twins = [
            first[sample.digest][name]
            for name in ('val', 'test')
            if name in first[sample.digest]
        ]
        if sample.split == 'train' and twins:
            data.findings.add(
                f'image in train and {twins[0].split}',
                sample.path,
                f'it has the bytes of {twins[0].path}',
                'left out of train, for a test must not know it',
            )
        else:
            kept.append(sample)
    data.samples = kept
