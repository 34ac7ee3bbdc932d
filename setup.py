"""What pyproject.toml cannot say: where an editable install has its files.

mim and mmengine look for a distribution's files at its location, joined with
the first line of its ``top_level.txt``. The location of an editable install is
site-packages, which has none; an absolute first line leads to the source tree.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.editable_wheel import editable_wheel


class EditableWheel(editable_wheel):
    """An editable wheel whose ``top_level.txt`` begins with a full path."""

    def run(self) -> None:
        self._ensure_dist_info()
        top_level = Path(self.dist_info_dir, 'top_level.txt')
        package = Path(__file__).resolve().parent / 'mmvheat'
        top_level.write_text(f'{package}\n{top_level.read_text()}')
        super().run()


setup(cmdclass={'editable_wheel': EditableWheel})
