"""The report about a data set: one page of markdown, and all findings."""

from __future__ import annotations

import csv
import io

from prettytable import PrettyTable, TableStyle

from .counting import count_classes, summarize, unit_of
from .fitting import Fit
from .records import SPLITS, DataSet, Findings

_MOST_CLASSES = 20
_SERIOUS = 10.0  # times that one class is more frequent than another


def write_report(
    data: DataSet, fit: Fit, title: str, sentences: list[str], pictures: list
) -> str:
    """The report as markdown.

    ``sentences`` say how the data were found and split; ``pictures`` are the
    names of those beside the report.
    """
    parts = [f'# {title}', ' '.join(sentences), _facts(data)]
    parts += ['## Classes', _classes(data)]
    parts += ['## What was found', findings_table(data.findings)]
    if data.findings:
        parts.append(
            'All of them with file and line: [findings.csv](findings.csv). '
            'Your files were not changed.'
        )
    parts += ['## What was chosen', _choices(fit)]
    if pictures:
        parts.append('## Samples, as the labels were understood')
        parts += [f'![{name}]({name})' for name in pictures]
    return '\n\n'.join(parts) + '\n'


def _facts(data: DataSet) -> str:
    table = PrettyTable(['', 'counted'], align='l')
    table.set_style(TableStyle.MARKDOWN)
    for key, value in summarize(data).items():
        table.add_row([key, _escape(value)])
    return str(table)


def _classes(data: DataSet) -> str:
    splits = [split for split in SPLITS if data.of_split(split)]
    counts = {split: count_classes(data, split) for split in splits}
    total = sum(counts['train'].values()) or 1
    names = [f'{split}, {unit_of(data)}' for split in splits]
    table = PrettyTable(['class', *names, 'share of train'], align='r')
    table.align['class'] = 'l'
    table.set_style(TableStyle.MARKDOWN)
    ordered = counts['train'].most_common()
    shown = ordered
    if len(ordered) > _MOST_CLASSES:
        half = _MOST_CLASSES // 2
        shown = ordered[:half] + ordered[-half:]
    for name, count in shown:
        row = [counts[split][name] for split in splits]
        table.add_row([_escape(name), *row, f'{count / total:.1%}'])
    text = str(table)
    if len(ordered) > len(shown):
        text += (
            f'\n\nThe most and the least frequent of {len(ordered)} classes.'
        )
    return '\n\n'.join([text, *advise(data)])


def advise(data: DataSet) -> list[str]:
    """Sentences about classes that will be hard to learn or to measure."""
    train, val = (count_classes(data, split) for split in ('train', 'val'))
    sentences = []
    for names, what in (
        ([n for n in data.classes if not train[n]], 'not in train: no model '
         'can learn them'),
        ([n for n in data.classes if train[n] and not val[n]], 'not in val: '
         'their metrics will be missing'),
    ):  # fmt: skip
        if names:
            shown = ', '.join(map(repr, names[:5]))
            more = f' and {len(names) - 5} more' if len(names) > 5 else ''
            sentences.append(f'{shown}{more} are {what}.')
    present = [count for count in train.values() if count]
    if present and max(present) > _SERIOUS * min(present):
        ratio = max(present) / min(present)
        sentences.append(
            f'The most frequent class has {ratio:.0f} times the '
            f'{unit_of(data)} of the rarest: look at the metrics of each '
            'class, not at their mean alone.'
        )
    return sentences


def findings_table(findings: Findings) -> str:
    """Findings by kind: how many, the first, and what was done."""
    if not findings:
        return 'Nothing that would need a word.'
    names = ['what', 'times', 'first', 'what was done']
    table = PrettyTable(names, align='l')
    table.set_style(TableStyle.MARKDOWN)
    for kind, count in findings.count().most_common():
        same = [finding for finding in findings if finding.kind == kind]
        done = list(dict.fromkeys(finding.done for finding in same))
        first = same[0]
        table.add_row(
            [
                kind,
                count,
                _escape(f'{first.place}: {first.what}'),
                _escape('; '.join(done[:3])),
            ]
        )
    return str(table)


def findings_csv(findings: Findings) -> str:
    """All findings as csv: kind, file, line, what, what was done."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['kind', 'file', 'line', 'what', 'done'])
    for kind, place, what, done in findings:
        writer.writerow([kind, place.file, place.line or '', what, done])
    return text.getvalue()


def _choices(fit: Fit) -> str:
    long, short = fit.scale
    return '\n'.join(
        [
            f'- Size {long}x{short}. {fit.reasons["scale"]}',
            f'- Batch {fit.batch}. {fit.reasons["batch"]}',
            f'- {fit.epochs} epochs. {fit.reasons["epochs"]}',
        ]
    )


def _escape(text: str) -> str:
    """Text that cannot break out of a cell."""
    return ' '.join(str(text).split()).replace('|', '\\|')
