"""The page in headless Chromium, as two visitors use it.

Needs gradio, selenium, chromium and chromedriver; skipped without them.
"""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmvheat.visualization.networks import (
    load_network,
)
from mmvheat.visualization.style import colorize

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'tests/test_tools/configs/mask_rcnn.py'
RESTORER = ROOT / 'configs/quickstart/vheatir-n_graydn25_photographs.py'
HAS_GRADIO = importlib.util.find_spec('gradio') or (
    Path(sys.prefix, 'demo/gradio').is_dir()
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HAS_GRADIO, reason='needs gradio'),
    pytest.mark.skipif(
        not shutil.which('chromedriver'), reason='needs chromedriver'
    ),
]


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Images: one of noise, one all dark, one that is none, a huge one."""
    folder = tmp_path_factory.mktemp('demo')
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    (folder / 'images').mkdir()
    Image.fromarray(noise).save(folder / 'images/noise.png')
    Image.new('RGB', (64, 64), (20, 20, 90)).save(folder / 'images/dark.png')
    (folder / 'bad.png').write_bytes(b'no image at all')
    Image.new('L', (9000, 9000)).save(folder / 'huge.png')
    (folder / 'large.png').write_bytes(bytes(21 * 2**20))
    return folder


@pytest.fixture(scope='module')
def server(folder: Path) -> Iterator[str]:
    """The address of the page of a small network."""
    with serve(CONFIG, folder) as address:
        yield address


@contextmanager
def serve(config: Path, folder: Path) -> Iterator[str]:
    """Serve the page of a network, and give its address."""
    network = load_network(str(config))
    for name, parameter in network.model.named_parameters():
        if 'freq_embed' in name or 'to_k' in name:
            torch.nn.init.normal_(parameter, std=0.5)
    weights = folder / f'{config.stem}.pth'
    torch.save(dict(state_dict=network.model.state_dict()), weights)
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    files = folder / f'files of {config.stem}'
    files.mkdir()
    log = open(folder / 'log.txt', 'w')  # noqa: SIM115
    process = subprocess.Popen(
        [sys.executable, ROOT / 'demo/app.py', '--config', config]
        + ['--checkpoint', weights, '--images', folder / 'images']
        + ['--port', str(port), '--no-browser', '--device', 'cpu'],
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, 'TMPDIR': str(files)},
    )
    address = f'http://127.0.0.1:{port}'
    try:
        for _ in range(240):
            assert process.poll() is None, (folder / 'log.txt').read_text()
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        assert process.wait(60) == 143
        log.close()
    assert not list(files.iterdir())


class Visitor:
    """A browser on the page."""

    def __init__(self, address: str) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        for flag in ('headless=new', 'no-sandbox', 'disable-dev-shm-usage'):
            options.add_argument(f'--{flag}')
        options.add_argument('--window-size=1400,1500')
        options.add_argument(f'--user-data-dir={tempfile.mkdtemp()}')
        options.binary_location = shutil.which('chromium')
        options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
        service = Service(shutil.which('chromedriver'))
        self.driver = webdriver.Chrome(options=options, service=service)
        self.driver.set_script_timeout(60)
        self.driver.get(address)
        self.wait('#picture')

    def find(self, selector: str):
        return self.driver.find_element('css selector', selector)

    def wait(self, selector: str, seconds: float = 60):
        from selenium.webdriver.support.expected_conditions import (
            presence_of_element_located,
        )
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, seconds).until(
            presence_of_element_located(('css selector', selector))
        )

    def source(self, name: str) -> str | None:
        """The address of the picture shown, if there is one."""
        found = self.driver.find_elements('css selector', f'#{name} img')
        return found[0].get_attribute('src') if found else None

    def act_and_wait(self, action, name: str) -> np.ndarray:
        """Do something and return the picture that it brings."""
        before = self.source(name)
        action()
        for _ in range(240):
            time.sleep(0.25)
            now = self.source(name)
            if now and now != before:
                return self.pixels(name)
        raise AssertionError(f'nothing new in {name}: {self.toast()}')

    def pixels(self, name: str) -> np.ndarray:
        """The pixels of a picture as the server sent it."""
        with urllib.request.urlopen(self.source(name)) as answer:
            return np.asarray(Image.open(io.BytesIO(answer.read())))

    def screenshot(self, name: str, shape: tuple) -> np.ndarray:
        """A picture as the browser paints it, scaled to a shape."""
        found = self.find(f'#{name} img')
        self.driver.execute_script(
            'arguments[0].scrollIntoView({block: "center"})', found
        )
        painted = Image.open(io.BytesIO(found.screenshot_as_png))
        return np.asarray(painted.convert('RGB').resize(shape[1::-1]))

    def upload(self, path: Path) -> None:
        self.find('#component-0, body')
        field = self.driver.find_elements('css selector', 'input[type=file]')[
            0
        ]
        field.send_keys(str(path))

    def click(self, x: float, y: float) -> None:
        """Click at shares of the width and height of the picture."""
        from selenium.webdriver import ActionChains

        image = self.find('#picture img')
        self.driver.execute_script(
            'arguments[0].scrollIntoView({block: "center"})', image
        )
        size = image.size
        chain = ActionChains(self.driver)
        chain.move_to_element_with_offset(
            image,
            round((x - 0.5) * size['width']),
            round((y - 0.5) * size['height']),
        )
        chain.click().perform()

    def slide(self, name: str, value: float) -> None:
        from selenium.webdriver.common.keys import Keys

        field = self.find(f'#{name} input[type=number]')
        field.send_keys(Keys.CONTROL, 'a')
        field.send_keys(str(value), Keys.TAB)

    def open_tab(self, name: str) -> None:
        for button in self.driver.find_elements(
            'css selector', 'button[role=tab]'
        ):
            if button.text == name:
                button.click()

    def toast(self) -> str:
        """The message shown over the page."""
        found = self.driver.find_elements('css selector', '.toast-wrap')
        return ' '.join(element.text for element in found)

    def wait_for_toast(self, words: str) -> str:
        for _ in range(120):
            if words in self.toast():
                return self.toast()
            time.sleep(0.25)
        raise AssertionError(f'{words!r} is not in {self.toast()!r}')

    def errors(self) -> list[str]:
        """What the console of the browser complains about."""
        return [
            entry['message']
            for entry in self.driver.get_log('browser')
            if entry['level'] == 'SEVERE'
        ]


@pytest.fixture
def visitors(server: str) -> Iterator[list[Visitor]]:
    """Two browsers."""
    pytest.importorskip('selenium')
    found = [Visitor(server), Visitor(server)]
    yield found
    for visitor in found:
        visitor.driver.quit()


def test_visit(visitors, folder, tmp_path) -> None:
    one, two = visitors
    one.act_and_wait(
        lambda: one.upload(folder / 'images/noise.png'), 'picture'
    )
    shown = one.pixels('picture')
    noise = np.asarray(Image.open(folder / 'images/noise.png'))
    np.testing.assert_array_equal(shown[::8, ::8], noise)
    assert 'Prediction:' in one.find('#sentence').text

    # the second visitor, in between, has another picture
    two.act_and_wait(lambda: two.upload(folder / 'images/dark.png'), 'picture')
    assert (two.pixels('picture') == (20, 20, 90)).all()
    np.testing.assert_array_equal(one.pixels('picture'), shown)

    heat = one.act_and_wait(lambda: one.click(0.25, 0.75), 'heat')
    later = one.act_and_wait(lambda: one.slide('t', 3), 'heat')
    assert heat.shape == later.shape
    assert (heat != later).mean() > 0.01
    # the hottest cell is where was clicked: in the lower left of the plate
    plate = later[50:312, 360:625].astype(int)
    hottest = np.abs(plate - colorize(np.ones(1))).sum(-1)
    y, x = np.unravel_index(hottest.argmin(), hottest.shape)
    assert y > 0.55 * plate.shape[0] and x < 0.45 * plate.shape[1]
    coarse = one.act_and_wait(lambda: one.slide('stage', 3), 'heat')
    single = one.act_and_wait(lambda: one.slide('channel', 2), 'heat')
    assert (coarse != later).any() and (single != coarse).any()
    elsewhere = two.act_and_wait(lambda: two.click(0.75, 0.25), 'heat')
    assert elsewhere.shape == heat.shape and (elsewhere != heat).any()

    for tab, name in (('Feature maps', 'maps'), ('Receptive field', 'erf')):
        one.open_tab(tab)
        one.wait(f'#{name} img')
        assert one.pixels(name).std() > 10
    one.open_tab('Prediction')
    for name in ('heat', 'prediction'):
        sent = one.pixels(name)[..., :3].astype(int)
        painted = one.screenshot(name, sent.shape)
        assert sent.std() > 10
        assert np.abs(painted - sent).mean() < 20, name  # scaled, of 255
        assert np.abs(painted[::-1] - sent).mean() > 20, name
    one.driver.save_screenshot(str(tmp_path / 'page.png'))
    assert one.errors() == two.errors() == []


def test_bad_files(visitors, folder) -> None:
    visitor, _ = visitors
    visitor.act_and_wait(
        lambda: visitor.upload(folder / 'images/noise.png'), 'picture'
    )
    before = visitor.source('picture')
    visitor.upload(folder / 'bad.png')
    visitor.wait_for_toast('no image that can be read')
    visitor.upload(folder / 'huge.png')
    visitor.wait_for_toast('at most 50 million pixels')
    visitor.upload(folder / 'large.png')
    visitor.wait_for_toast('size')
    # and the page stays as it was, and goes on
    assert visitor.source('picture') == before
    visitor.act_and_wait(
        lambda: visitor.upload(folder / 'images/dark.png'), 'picture'
    )


def test_restorer(folder, tmp_path) -> None:
    pytest.importorskip('selenium')
    with serve(RESTORER, folder) as address:
        visitor = Visitor(address)
        visitor.act_and_wait(
            lambda: visitor.upload(folder / 'images/dark.png'), 'picture'
        )
        assert 'SSIM' in visitor.find('#sentence').text
        four = visitor.pixels('prediction')
        # noise of sigma 25 around what OpenCV makes of (20, 20, 90): 28
        noisy = visitor.pixels('picture')[::8, ::8].astype(float)
        assert 15 < noisy.std() < 25 and 28 < noisy.mean() < 36
        plain = visitor.act_and_wait(
            visitor.find('#degraded input').click, 'picture'
        )
        assert (plain == 28).all()
        assert 'no clean image' in visitor.find('#sentence').text
        assert visitor.pixels('prediction').shape[1] < 0.8 * four.shape[1]
        heat = visitor.act_and_wait(lambda: visitor.click(0.2, 0.2), 'heat')
        assert heat.std() > 10
        before = visitor.source('picture')
        visitor.upload(folder / 'bad.png')
        visitor.wait_for_toast('no image that can be read')
        assert visitor.source('picture') == before
        visitor.driver.save_screenshot(str(tmp_path / 'page.png'))
        assert visitor.errors() == []
        visitor.driver.quit()


def test_nothing_is_left_of_a_visit(visitors, folder, server) -> None:
    visitor, _ = visitors
    visitor.act_and_wait(
        lambda: visitor.upload(folder / 'images/noise.png'), 'picture'
    )
    address = visitor.source('picture')
    assert urllib.request.urlopen(address).status == 200
    for _ in range(40):
        time.sleep(5)
        try:
            urllib.request.urlopen(address)
        except OSError:
            break
    else:
        raise AssertionError(f'{address} is still there after 200 s')
