"""How Sphinx builds the site: ``make docs``."""

import logging
import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

from myst_nb.core import render  # noqa: E402
from pages import adapt_links, write_pages  # noqa: E402

from mmvheat.version import __version__  # noqa: E402

project = 'mmvheat'
author = 'The mmvheat authors'
copyright = author  # noqa: A001 (Sphinx's name)
release = version = __version__

extensions = [
    'myst_nb',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'sphinx_copybutton',
]
exclude_patterns = [
    '_build',
    'requirements.txt',
    'benchmark/propagators/ablation.md',  # a table of propagators.md
]

myst_enable_extensions = ['dollarmath']
myst_heading_anchors = 3

# Tutorials are run anew by every build, each in a folder of its own. A host
# that has no compiled mmcv shows their code without what it prints.
nb_execution_mode = os.environ.get('MMVHEAT_DOCS_NOTEBOOKS', 'force')
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_show_tb = True  # and with -W the build fails, after all of them
nb_merge_streams = True
nb_output_stderr = 'remove'  # progress bars
if nb_execution_mode == 'off':  # no kernel says that cells may be commands
    suppress_warnings = ['misc.highlighting_failure']

# Pages are found by patterns of their names, whichever there are.
logging.getLogger('sphinx.sphinx.directives.other').addFilter(
    lambda record: "didn't match any documents" not in str(record.msg)
)

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'  # docstrings tell the types

html_theme = 'furo'
html_title = f'mmvheat {release}'
copybutton_prompt_text = '%%bash'
copybutton_only_copy_prompt_lines = False

# A command that fails fails its cell, also in front of a pipe.
os.environ['SHELLOPTS'] = 'errexit:pipefail'


def join_streams(outputs: list) -> list:
    """Join what a cell prints. myst-nb would break lines at its pieces."""
    joined, streams = [], {}
    for output in outputs:
        name = output.get('name')
        if output['output_type'] == 'stream' and name in streams:
            streams[name]['text'] += output['text']
        else:
            streams[name] = output
            joined.append(output)
    return joined


def adapt_source(app, docname: str, source: list[str]) -> None:
    """Turn links that leave docs/ to what the site has."""
    path = DOCS / f'{docname}.md'
    source[0] = adapt_links(source[0], path, path)


def setup(app) -> None:
    """Called by Sphinx."""
    render.coalesce_streams = join_streams
    write_pages()
    app.connect('source-read', adapt_source)
