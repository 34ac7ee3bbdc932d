"""Markdown tables."""

import pytest

from mmvheat.visualization import markdown_table


def test_table_is_aligned_and_numbers_are_flush_right():
    table = markdown_table(
        ['run', 'mAP', 'note'], [['a', 0.7, 'x|y'], ['long', None, 3]]
    )
    assert table == (
        '| run  | mAP | note |\n'
        '| ---- | --: | ---- |\n'
        '| a    | 0.7 | x\\|y |\n'
        '| long |     | 3    |\n'
    )


def test_rows_of_another_length_are_refused():
    with pytest.raises(ValueError, match='has 1 cells, the header 2'):
        markdown_table(['a', 'b'], [[1]])
