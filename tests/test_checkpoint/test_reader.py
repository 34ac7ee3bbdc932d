"""Any file is read as inert data, or refused in one sentence."""

import argparse
import io
import os
import pickle
import random
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from mmvheat.checkpoint import CheckpointError, read_file, unpickler

FORMATS = ('zip', 'legacy')


@pytest.fixture(params=['torch', 'own'], autouse=True)
def restricted(request, monkeypatch):
    """Read by torch's restricted unpickler, and by that for older ones."""
    if request.param == 'own':
        monkeypatch.setattr(unpickler, 'IS_BEFORE_2_10', True)
    elif unpickler.IS_BEFORE_2_10:
        pytest.skip('torch before 2.10 has none without holes')


def save(content, path, form):
    if form == 'zip':
        torch.save(content, path)
    elif form == 'legacy':
        torch.save(content, path, _use_new_zipfile_serialization=False)
    elif form == 'zip, protocol 4':
        torch.save(content, path, pickle_protocol=4)
    else:
        protocol = int(form.split()[-1])
        path.write_bytes(pickle.dumps(content, protocol))


def write_pickle(code, path, content=0):
    """Save content, and put a pickle in the place of its own."""
    stored = io.BytesIO()
    torch.save(content, stored)
    with zipfile.ZipFile(stored) as plain, zipfile.ZipFile(path, 'w') as file:
        for name in plain.namelist():
            is_pickle = name.endswith('data.pkl')
            file.writestr(name, code if is_pickle else plain.read(name))


def refuse(path):
    """Read a file that must be refused and return the sentence."""
    with pytest.raises(CheckpointError) as error:
        read_file(path)
    sentence = str(error.value)
    assert '\n' not in sentence
    assert str(path) in sentence
    return sentence


class Attack:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('form', FORMATS)
def test_config_node_is_read_without_yacs(tmp_path, yacs, monkeypatch, form):
    node = yacs({'MODEL': yacs({'NAME': 'tiny', 'DEPTHS': [2, 2]})})
    save({'model': {'a': torch.ones(2)}, 'config': node}, tmp_path / 'f', form)
    monkeypatch.delitem(sys.modules, 'yacs.config')
    monkeypatch.delitem(sys.modules, 'yacs')
    content = read_file(tmp_path / 'f')
    assert content['config'] == {'MODEL': {'NAME': 'tiny', 'DEPTHS': [2, 2]}}
    assert not vars(content['config'])
    assert torch.equal(content['model']['a'], torch.ones(2))
    assert 'yacs' not in sys.modules


@pytest.mark.parametrize('form', FORMATS)
def test_namespace_becomes_a_dict(tmp_path, form):
    save({'args': argparse.Namespace(lr=0.1)}, tmp_path / 'f', form)
    assert read_file(tmp_path / 'f')['args'] == {'lr': 0.1}


@pytest.mark.parametrize('form', FORMATS)
def test_log_buffers_and_numpy_values_survive(tmp_path, form):
    buffer = HistoryBuffer()
    for value in (0.5, 2, 3.25):
        buffer.update(value)
    content = {
        'loss': buffer,
        'score': np.float64(0.25),
        'ids': np.arange(3),
    }
    save(content, tmp_path / 'f', form)
    read = read_file(tmp_path / 'f')
    assert type(read['loss']) is HistoryBuffer
    assert np.array_equal(read['loss'].data, buffer.data)
    assert read['loss'].statistics('mean') == buffer.mean()
    assert read['score'] == 0.25
    assert np.array_equal(read['ids'], [0, 1, 2])
    # A resumed run saves them again, for everyone to read.
    save(read, tmp_path / 'again', form)
    again = torch.load(tmp_path / 'again', weights_only=False)
    assert type(again['loss']) is HistoryBuffer


@pytest.mark.parametrize('module', ('numpy.core', 'numpy._core'))
def test_values_of_either_numpy_are_read(tmp_path, module):
    content = {'score': np.float64(0.25), 'ids': np.arange(3)}
    save(content, tmp_path / 'f', 'legacy')
    data = (tmp_path / 'f').read_bytes()
    for name in (b'numpy.core.multiarray', b'numpy._core.multiarray'):
        data = data.replace(name, f'{module}.multiarray'.encode())
    (tmp_path / 'f').write_bytes(data)
    read = read_file(tmp_path / 'f')
    assert read['score'] == 0.25
    assert np.array_equal(read['ids'], [0, 1, 2])


def test_log_buffer_brings_no_functions(tmp_path, monkeypatch):
    statistics = dict(HistoryBuffer._statistics_methods)
    monkeypatch.setattr(HistoryBuffer, '_statistics_methods', statistics)
    HistoryBuffer._statistics_methods['mean'] = HistoryBuffer.max
    torch.save(HistoryBuffer([1.0, 3.0], [1, 1]), tmp_path / 'f')
    HistoryBuffer._statistics_methods['mean'] = HistoryBuffer.mean
    assert read_file(tmp_path / 'f').statistics('mean') == 2


def test_state_dict_attributes_are_dropped_but_module_versions(tmp_path):
    weights = torch.nn.Linear(2, 2).state_dict()
    weights.copy = print  # a method that mmengine calls
    weights.copy = {'not': 'a method'}
    torch.save(weights, tmp_path / 'f')
    read = read_file(tmp_path / 'f')
    assert read._metadata == weights._metadata
    assert set(read.copy()) == {'weight', 'bias'}


def test_safetensors_with_metadata(tmp_path):
    tensors = {'a': torch.randn(2, 3), 'b': torch.ones(1).half()}
    save_file(tensors, tmp_path / 'f.pth', metadata={'epoch': '3'})
    read = read_file(tmp_path / 'f.pth')  # told by content, not by name
    assert read['meta'] == {'epoch': '3'}
    assert all(torch.equal(read['state_dict'][k], tensors[k]) for k in 'ab')


@pytest.mark.parametrize(
    'form', (*FORMATS, 'zip, protocol 4', 'bare 2', 'bare 4')
)
@pytest.mark.parametrize(
    'function, name',
    [(os.system, 'system'), (eval, 'eval'), (subprocess.call, 'call')],
)
def test_malicious_pickle_is_refused_by_name(tmp_path, form, function, name):
    mark = tmp_path / 'executed'
    code = f'open({str(mark)!r}, "w")' if function is eval else f'touch {mark}'
    args = ([*code.split()],) if function is subprocess.call else (code,)
    content = {'config': Attack(function, *args)}
    save(content, tmp_path / 'f', form)
    sentence = refuse(tmp_path / 'f')
    assert f'{name}, which weights do not need' in sentence
    assert 'nothing of it was executed' in sentence
    assert not mark.exists()
    # The file is a real attack: an ordinary load runs it.
    if 'bare' in form:
        pickle.loads((tmp_path / 'f').read_bytes())
    else:
        torch.load(tmp_path / 'f', weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize(
    'attack',
    [
        Attack(getattr, HistoryBuffer(), '__class__'),
        Attack(getattr, torch.Tensor, 'mean'),
    ],
)
def test_getattr_is_not_open(tmp_path, attack):
    torch.save(attack, tmp_path / 'f')
    refuse(tmp_path / 'f')


@pytest.mark.parametrize('owner', [torch.Tensor, torch._utils._rebuild_tensor])
def test_no_class_or_function_is_given_a_state(tmp_path, owner):
    name = f'{owner.__module__} {owner.__name__}'.encode()
    # Set the attribute, as objects with slots have theirs set.
    state = b'}X\x05\x00\x00\x00alienX\x01\x00\x00\x00xs'
    data = b'\x80\x02c' + name.replace(b' ', b'\n') + b'\nN' + state
    write_pickle(data + b'\x86b.', tmp_path / 'f')
    refuse(tmp_path / 'f')
    assert not hasattr(owner, 'alien')


@pytest.mark.parametrize('name', ['f', '\x80\x02'])
def test_archives_of_the_first_torch_are_refused(tmp_path, name):
    mark = tmp_path / 'executed'
    code = pickle.dumps(Attack(os.system, f'touch {mark}'), protocol=2)
    with tarfile.open(tmp_path / 'f', 'w') as archive:
        for member in (name, 'storages', 'tensors', 'pickle'):
            info = tarfile.TarInfo(member)
            info.size = len(code)
            archive.addfile(info, io.BytesIO(code))
    refuse(tmp_path / 'f')
    with pytest.raises((pickle.UnpicklingError, RuntimeError)):
        unpickler.load_weights(tmp_path / 'f')
    assert not mark.exists()


def test_archives_of_the_first_torch_change_no_file(tmp_path):
    (tmp_path / 'mine').touch(0o600)
    with tarfile.open(tmp_path / 'f', 'w') as archive:
        info = tarfile.TarInfo('storages')
        info.type, info.linkname = tarfile.LNKTYPE, str(tmp_path / 'mine')
        info.mode = 0o777
        archive.addfile(info)
    with pytest.raises((pickle.UnpicklingError, RuntimeError)):
        unpickler.load_weights(tmp_path / 'f')
    assert (tmp_path / 'mine').stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    'code',
    [
        # torch.Tensor.__new__(torch.Tensor, cdata=1), the address of a tensor
        b'ctorch\nTensor\n)}X\x05\x00\x00\x00cdataK\x01s\x92.',
        b'(K\x04itorch.storage\nUntypedStorage\n.',
        b'(ctorch.storage\nUntypedStorage\nK\x04o.',
        b'\x82\x01.',
        b'Pa file\n.',
        # a set, and what has a method that is called like its own
        b'ccollections\nOrderedDict\n)R(K\x01\x90.',
        b'ctorch\nTensor\nK\x04\x85RK\x00K\x01s.',
        b'ctorch\nTensor\nK\x04\x85R(K\x00K\x01u.',
        b'X\x06\x00\x00\x00moduleK\x01K\x01K\x01\x86\x86Q.',
    ],
)
def test_what_torch_never_writes_is_refused(tmp_path, code):
    write_pickle(b'\x80\x02' + code, tmp_path / 'f')
    refuse(tmp_path / 'f')


def test_sparse_tensors_are_not_made_unchecked(tmp_path, monkeypatch):
    monkeypatch.setattr(unpickler, 'IS_BEFORE_2_10', True)
    code = b'\x80\x02ctorch.sparse\nFloatTensor\n)R.'
    write_pickle(code, tmp_path / 'f')
    assert 'torch.sparse.FloatTensor' in refuse(tmp_path / 'f')


@pytest.mark.parametrize('count', [40_000, -1])
def test_no_tensor_reaches_beyond_what_is_stored(tmp_path, monkeypatch, count):
    monkeypatch.setattr(unpickler, 'IS_BEFORE_2_10', True)
    torch.save(torch.arange(4.0), tmp_path / 'f')
    with zipfile.ZipFile(tmp_path / 'f') as archive:
        code = archive.read('f/data.pkl')
    stored = b'cpuq\x04K\x04'
    assert stored in code
    count = b'cpuq\x04J' + count.to_bytes(4, 'little', signed=True)
    code = code.replace(stored, count)
    write_pickle(code, tmp_path / 'f', torch.arange(4.0))
    refuse(tmp_path / 'f')


@pytest.mark.parametrize(
    'array',
    [
        # numpy.ndarray(4, dtype)
        b'cnumpy\nndarray\nK\x04h\x01\x86R',
        # _reconstruct(numpy.ndarray, (4,), dtype)
        b'cnumpy.core.multiarray\n_reconstruct\n'
        b'cnumpy\nndarray\nK\x04\x85h\x01\x87R',
        # an array of 4 bytes by its state
        b'cnumpy.core.multiarray\n_reconstruct\n'
        b'cnumpy\nndarray\nK\x00\x85h\x01\x87R(K\x01K\x04\x85h\x01\x89'
        b'c_codecs\nencode\nX\x04\x00\x00\x00abcdX\x05\x00\x00\x00ascii'
        b'\x86Rtb',
    ],
)
def test_no_array_reaches_beyond_its_memory(tmp_path, array):
    # dtype('S1'), kept as 1, and a state that makes its items larger later
    dtype = b'cnumpy\ndtype\nX\x02\x00\x00\x00S1\x89\x88\x87Rq\x01'
    state = b'(K\x03X\x01\x00\x00\x00|NNNM\x00\x10K\x01K\x00tb'
    code = b'\x80\x02](' + dtype + array + b'h\x01' + state + b'e.'
    write_pickle(code, tmp_path / 'f')
    try:
        read = read_file(tmp_path / 'f')[1]
    except CheckpointError:
        return
    assert read.nbytes in (0, 4)


def test_arrays_are_of_the_class_of_numpy(tmp_path):
    content = [np.arange(3), {'a': (np.array(['x', 'yz']),)}]
    torch.save(content, tmp_path / 'f')
    first, nested = read_file(tmp_path / 'f')
    assert type(first) is type(nested['a'][0]) is np.ndarray
    assert first.tolist() == [0, 1, 2]
    assert nested['a'][0].tolist() == ['x', 'yz']


def test_object_arrays_are_refused(tmp_path):
    torch.save(np.array([1, None], dtype=object), tmp_path / 'f')
    assert 'numpy.dtype' in refuse(tmp_path / 'f')


def test_harmless_bare_pickle_is_refused_with_advice(tmp_path):
    save({'a': 1}, tmp_path / 'f', 'bare 4')
    assert 'torch.save' in refuse(tmp_path / 'f')


@pytest.mark.parametrize(
    'content, words',
    [
        (b'', 'is empty'),
        (b'\n <!DOCTYPE html><html>', 'web page'),
        (b'<html><body>404', 'web page'),
        (b'version https://git-lfs.github.com/spec/v1\n', 'git lfs pull'),
        (b'not a checkpoint\n', 'text file'),
        (b'{"a": 1, "b": [2]}', 'text file'),
        (bytes(range(256)) * 8, 'is not a checkpoint'),
        (b'\x1f\x8b\x08\x00' + bytes(64), 'is not a checkpoint'),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, content, words):
    (tmp_path / 'f').write_bytes(content)
    assert words in refuse(tmp_path / 'f')


def test_archives_and_programs_are_named_for_what_they_are(tmp_path):
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        archive.writestr('readme', 'text')
    assert 'not one of torch.save' in refuse(tmp_path / 'a.zip')
    torch.jit.script(torch.nn.ReLU()).save(tmp_path / 'b.pt')
    assert 'TorchScript' in refuse(tmp_path / 'b.pt')


def test_missing_file_and_folder(tmp_path):
    assert 'does not exist' in refuse(tmp_path / 'f')
    assert 'is a folder' in refuse(tmp_path)


@pytest.mark.parametrize('kept', (0.99, 0.6, 0.2, 0.02))
@pytest.mark.parametrize('form', (*FORMATS, 'safetensors'))
def test_truncated_file(tmp_path, form, kept):
    weights = {str(i): torch.randn(400) for i in range(20)}
    path = tmp_path / 'f'
    if form == 'safetensors':
        save_file(weights, path)
    else:
        save({'model': weights}, path, form)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    sentence = refuse(path)
    assert 'truncated' in sentence or 'damaged' in sentence
    assert 'copy or download it again' in sentence


def test_flipped_bit_never_changes_what_is_read(tmp_path):
    weights = {f'layer.{i}': torch.randn(50) for i in range(40)}
    path = tmp_path / 'f'
    torch.save({'model': weights}, path)
    data = path.read_bytes()
    rng = random.Random(0)
    refused = 0
    for _ in range(800):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            read = read_file(path)['model']
        except CheckpointError as error:
            assert 'damaged' in str(error) or 'truncated' in str(error)
            refused += 1
        else:  # it hit padding between the entries
            assert read.keys() == weights.keys()
            assert all(torch.equal(read[k], weights[k]) for k in weights)
    assert refused > 300


def test_entry_marked_as_folder_is_not_read_as_noise(tmp_path):
    path = tmp_path / 'f'
    torch.save({'a': torch.ones(64)}, path)
    data = bytearray(path.read_bytes())
    entry = data.rfind(b'PK\x01\x02', 0, data.rfind(b'data/0'))
    data[entry + 38] |= 0x10
    path.write_bytes(data)
    assert 'damaged' in refuse(path)


def test_entry_whose_name_is_damaged_is_damage(tmp_path):
    path = tmp_path / 'f'
    torch.save({'a': torch.ones(64)}, path)
    data = bytearray(path.read_bytes())
    data[data.rfind(b'data.pkl')] ^= 1
    path.write_bytes(data)
    assert 'damaged' in refuse(path)


@pytest.mark.skipif(
    not hasattr(torch.serialization, 'set_crc32_options'),
    reason='this torch always stores them',
)
def test_file_without_checksums_is_read(tmp_path):
    enabled = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({'a': torch.ones(2)}, tmp_path / 'f')
    finally:
        torch.serialization.set_crc32_options(enabled)
    assert torch.equal(read_file(tmp_path / 'f')['a'], torch.ones(2))
