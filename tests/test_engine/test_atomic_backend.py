"""A save that fails changes nothing."""

from __future__ import annotations

import os

import pytest
from mmengine.fileio import get_file_backend

from mmvheat.engine import UserError


@pytest.fixture
def backend():
    """The backend as a checkpoint hook gets it."""
    backend = get_file_backend(backend_args=dict(backend='atomic'))
    yield backend
    type(backend)._outdated.clear()


def _fill_disk(path) -> None:
    os.symlink('/dev/full', f'{path}.partial')


def test_put_makes_folders_and_leaves_nothing_else(backend, tmp_path) -> None:
    backend.put(b'weights', str(tmp_path / 'a' / 'b.pth'))
    assert [p.name for p in (tmp_path / 'a').iterdir()] == ['b.pth']
    assert (tmp_path / 'a' / 'b.pth').read_bytes() == b'weights'


def test_full_disk_keeps_the_file_that_was_there(backend, tmp_path) -> None:
    path = tmp_path / 'best.pth'
    path.write_bytes(b'old')
    _fill_disk(path)
    with pytest.raises(UserError, match='No space left on device'):
        backend.put(b'new' * 10000, str(path))
    assert path.read_bytes() == b'old'
    assert [p.name for p in tmp_path.iterdir()] == ['best.pth']


def test_outdated_file_stays_until_the_next_one_is_written(
    backend, tmp_path
) -> None:
    old, new = tmp_path / 'epoch_1.pth', tmp_path / 'epoch_2.pth'
    old.write_bytes(b'old')
    backend.remove(str(old))
    assert old.exists()

    # mmengine writes through another instance than it removes with.
    writer = get_file_backend(backend_args=dict(backend='atomic'))
    _fill_disk(new)
    with pytest.raises(UserError):
        writer.put(b'new', str(new))
    assert old.exists()

    writer.put(b'new', str(new))
    assert [p.name for p in tmp_path.iterdir()] == ['epoch_2.pth']


def test_file_removed_and_written_anew_stays(backend, tmp_path) -> None:
    path = tmp_path / 'best.pth'
    path.write_bytes(b'old')
    backend.remove(str(path))
    backend.put(b'new', str(path))
    assert path.read_bytes() == b'new'
