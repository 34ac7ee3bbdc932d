"""What the documentation names is there: links, commands, versions."""

import re
from pathlib import Path

import check_blocks
import pages
import pytest
import yaml
from packaging.requirements import Requirement

from mmvheat import version

ROOT = Path(__file__).parents[2]
LINK = re.compile(r'\]\(([^)\s:#]*)(?:#([^)\s]*))?\)')
CODE = re.compile(r'```.*?```|`[^`\n]*`', re.S)


def read_sources():
    """Texts in Markdown that people read, also without the site."""
    for path in sorted(ROOT.rglob('*.md')):
        parts = path.relative_to(ROOT).parts
        if not {'.venv', 'generated', '_build', 'work_dirs'} & set(parts):
            yield path, path.read_text()


def slugs(text):
    """The anchors that headings of Markdown get."""
    for title in re.findall(r'^#+ (.+)$', text, re.M):
        plain = re.sub(r'[^\w\- ]', '', title.lower())
        yield plain.strip().replace(' ', '-')


def test_links_lead_to_files_and_headings():
    dead = []
    for path, text in read_sources():
        for link, anchor in LINK.findall(CODE.sub('', text)):
            target = (path.parent / link).resolve() if link else path
            if not target.exists() or (
                anchor and anchor not in set(slugs(target.read_text()))
            ):
                dead.append(f'{path.relative_to(ROOT)}: {link}#{anchor}')
    assert not dead


def test_blocks_name_tools_configs_and_targets_that_exist():
    blocks = list(check_blocks.find_blocks())
    assert len(blocks) > 100
    failed = []
    for block in blocks:
        try:
            if block.mark != 'run':
                check_blocks.check_block(block, options=False)
        except (ValueError, SyntaxError) as error:
            failed.append(f'{block.path.name}:{block.line}: {error}')
    assert not failed


@pytest.mark.parametrize(
    'command',
    [
        'python tools/trian.py CONFIG',
        'tools/dist_train.sh configs/no/such.py 8',
        'make tests',
        'mmvheat learn my_config.py',
        'VAR=1 frobnicate && ls',
        'ls | python tools/no_such.py',
    ],
)
def test_wrong_commands_are_found(command):
    block = check_blocks.Block(ROOT, 1, 'bash', f'{command}\n', '')
    with pytest.raises(ValueError):
        check_blocks.check_block(block, options=False)


def test_table_of_versions_is_that_of_the_pins():
    text = (ROOT / 'docs/start/install.md').read_text()
    table = text.split('## Versions')[1]
    rows = re.findall(r'^\| ([\w-]+) \| ([\d. to]+) \| (\S+) \|$', table, re.M)
    assert len(rows) >= 10
    pins = '\n'.join(p.read_text() for p in ROOT.glob('requirements/*.txt'))
    accepted = {
        names[0]: wanted
        for names, wanted in {**version.REQUIRED, **version.OPTIONAL}.values()
    }
    for name, tested, wanted in rows:
        if name != 'triton':
            assert f'\n{name}=={tested}\n' in f'\n{pins}\n'
        assert wanted == accepted.get(name, wanted)
    # Extras and dependencies that have bounds of their own.
    project = (ROOT / 'pyproject.toml').read_text()
    for name in ('torch', 'timm', 'grad-cam'):
        bound = {n: w for n, _, w in rows}[name]
        assert str(Requirement(f'{name}{bound}').specifier)
        assert f"'{name}{bound}'" in project


def test_version_stands_everywhere():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert citation['version'] == version.__version__
    changelog = (ROOT / 'CHANGELOG.md').read_text()
    assert re.search(r'^## (\S+)', changelog, re.M)[1] == version.__version__


def test_issue_forms_ask_for_the_environment():
    for path in (ROOT / '.github/ISSUE_TEMPLATE').glob('*.yml'):
        if path.name != 'config.yml':
            form = yaml.safe_load(path.read_text())
            labels = [part['attributes'].get('label') for part in form['body']]
            assert any('collect_env.py' in str(label) for label in labels)


def test_zoo_page_has_every_model_with_its_published_figures():
    text = pages.zoo_index()
    for metafile in ROOT.glob('configs/*/metafile.yml'):
        for model in yaml.safe_load(metafile.read_text())['Models']:
            rows = [r for r in text.split('\n') if f'[{model["Name"]}]' in r]
            assert len(rows) == 1
            for result in model.get('Results', []):
                for name, value in result['Metrics'].items():
                    assert f'{name} {value}' in rows[0]


def test_links_of_other_pages_lead_to_pages_of_the_site():
    page = pages.GENERATED / 'zoo/quickstart.md'
    source = ROOT / 'configs/quickstart/README.md'
    text = '[a](../mask_rcnn) [b](../../docs/gpu.md#x) [c](no.md) [e](..)'
    assert pages.adapt_links(text, source, page) == (
        '[a](mask_rcnn.md) [b](../../gpu.md#x) [c](no.md) e'
    )
