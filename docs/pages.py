"""Pages of the site that are made of other files of the repository.

The model zoo comes from the metafiles and from the READMEs below ``configs/``;
CHANGELOG, CONTRIBUTING and SECURITY lie where users of a repository look for
them. All go to ``docs/generated``, which git does not know, with their links
turned to the pages that the site has.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path

from prettytable import PrettyTable, TableStyle

from mmvheat.zoo import Model, list_models

DOCS = Path(__file__).parent
ROOT = DOCS.parent
GENERATED = DOCS / 'generated'
TOP = ('CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md')
LINK = re.compile(r'\[([^\[\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)')

INTRO = """\
# Model zoo

All configs of the package, by what they are measured with. They are inherited
as `mmvheat::CONFIG`; `mmvheat zoo` prints these tables, `mim search mmvheat`
finds them.

**Published** figures are those of the authors, obtained with their code; none
was measured here. **Measured here** are those of the digit scenes alone. Each
page has the parameters and FLOPs of its models, which were measured here with
`tools/analysis_tools/get_flops.py`, and the commands of every run.
"""


def write_pages() -> None:
    """Make ``docs/generated`` anew; what has not changed is left alone."""
    texts = {GENERATED / 'zoo/index.md': zoo_index()}
    sources = {ROOT / name: GENERATED / name.lower() for name in TOP}
    for readme in readmes():
        sources[readme] = GENERATED / f'zoo/{readme.parent.name}.md'
    for source, page in sources.items():
        texts[page] = adapt_links(source.read_text(), source, page)
    for page in set(GENERATED.rglob('*.md')) - set(texts):
        page.unlink()
    for page, text in texts.items():
        page.parent.mkdir(parents=True, exist_ok=True)
        if not page.exists() or page.read_text() != text:
            page.write_text(text)


def adapt_links(text: str, source: Path, page: Path) -> str:
    """Turn links into the repository to pages of the site or to files.

    Args:
        text (str): Markdown.
        source (Path): The file that its links are relative to.
        page (Path): Where the site has the text.

    Returns:
        str: The text. Links that lead nowhere stay, for Sphinx to find.
    """

    def adapt(match: re.Match) -> str:
        label, link, anchor = match.groups(default='')
        target = (source.parent / link).resolve()
        if not target.exists() or (
            target.is_relative_to(DOCS) and source == page
        ):
            return match[0]
        target = find_page(target) or target
        if target.is_dir():  # a browser of files shows it, the site cannot
            return label
        link = os.path.relpath(target, page.parent)
        return f'[{label}]({link}{anchor})'

    return LINK.sub(adapt, text)


def find_page(target: Path) -> Path | None:
    """The page of the site that shows a file or folder, if there is one."""
    if target.parent == ROOT and target.name in TOP:
        return GENERATED / target.name.lower()
    if target == ROOT / 'README.md':
        return DOCS / 'index.md'
    if target == ROOT / 'model-index.yml':
        return GENERATED / 'zoo/index.md'
    folder = target.parent if target.name == 'README.md' else target
    if folder.parent == ROOT / 'configs' and (folder / 'README.md').exists():
        return GENERATED / f'zoo/{folder.name}.md'
    return None


def zoo_index() -> str:
    """The first page of the zoo: a table a task, then the other configs."""
    tasks, others = defaultdict(list), []
    for model in list_models():
        if model.results:
            tasks[model.results[0][0]].append(model)
        else:
            others.append(model)
    parts = [INTRO]
    for task, models in tasks.items():
        parts.append(f'## {task}\n\n{table(models)}\n')
    parts.append(
        '## Configs without published figures\n\n'
        + '\n'.join(f'- {name_of(model)}' for model in others)
        + '\n'
    )
    folders = sorted(path.parent.name for path in readmes())
    parts.append(
        '## Pages\n\n```{toctree}\n:maxdepth: 1\n\n'
        + '\n'.join(folders)
        + '\n```\n'
    )
    return '\n'.join(parts)


def readmes() -> list[Path]:
    """The READMEs below ``configs/``."""
    return list(ROOT.glob('configs/*/README.md'))


def name_of(model: Model) -> str:
    """A model's name as a link to the page of its folder."""
    return f'[{model.name}]({model.config.split("/")[0]}.md)'


def table(models: list[Model]) -> str:
    """Models with their figures, whose they are, and their weights."""
    table = PrettyTable(['config', 'data', 'figures', 'whose', 'weights'])
    table.set_style(TableStyle.MARKDOWN)
    table.align = 'l'
    for model in models:
        table.add_row(
            [
                name_of(model),
                model.results[0][1],
                model.figures,
                'measured here' if model.measured else 'published',
                f'[file]({model.weights})' if model.weights else '-',
            ]
        )
    return str(table)
