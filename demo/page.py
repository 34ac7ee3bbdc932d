"""The page: what a visitor sees and can do. Needs gradio."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr
import mmcv
import numpy as np
from exhibit import Exhibit, View, decode, show

from mmvheat.visualization import features, films, receptive_field
from mmvheat.visualization.layers import (
    PictureError,
)

INTRODUCTION = """
# What does a vHeat see?

Choose an image or upload one, then **click a point of it**: heat spreads from
there the way the network has learned to spread it.
"""
RESTORER = (
    'A restorer degrades the image as its test does, and restores it; of a '
    'large one it takes the middle.'
)
SECONDS_KEPT = 60


def build_page(
    exhibits: Mapping[str, Exhibit], samples: Mapping[str, Sequence[str]]
) -> gr.Blocks:
    """Build the page.

    Args:
        exhibits (Mapping[str, Exhibit]): The networks by their names.
        samples (Mapping[str, Sequence[str]]): Image files to pick from, by
            the names of the networks.
    """
    first = next(iter(exhibits))
    depths = exhibits[first].depths or [1]

    def pick(model: str, number: str | None) -> np.ndarray | None:
        if not number:
            return None
        path = samples[model][int(number.removeprefix('image ')) - 1]
        return mmcv.imread(path, channel_order='rgb')

    def look(
        model: str, image: np.ndarray | None, is_degraded: bool, stage: int
    ) -> list:
        """All of the outputs for a new image; state first."""
        if image is None:
            return [None] * 6 + ['']
        exhibit = exhibits[model]
        view = exhibit.look(image, is_degraded)
        return [
            (view, image, None),
            show(view),
            view.prediction,
            exhibit.draw_features(view),
            exhibit.draw_field(view, int(stage)),
            None,
            f'**Prediction:** {view.sentence}',
        ]

    def upload(model: str, data: bytes, is_degraded: bool, stage: int) -> list:
        image = decode(data, exhibits[model].is_restorer)
        return look(model, image, is_degraded, stage)

    def look_again(
        model: str, state: tuple | None, is_degraded: bool, stage: int
    ) -> list:
        return look(model, state and state[1], is_degraded, stage)

    def change_model(
        model: str, state: tuple | None, is_degraded: bool, stage: int
    ) -> list:
        number = len(samples.get(model, ()))
        names = [f'image {i + 1}' for i in range(number)]
        depth = max(exhibits[model].depths or [1])
        return [
            gr.update(choices=names, value=None),
            gr.update(maximum=max(2, depth)),
            gr.update(visible=exhibits[model].is_restorer),
            *look_again(model, state, is_degraded, stage),
        ]

    def click(
        model: str,
        state: tuple | None,
        t: float,
        stage: int,
        block: int,
        channel: int,
        event: gr.SelectData,
    ) -> tuple:
        if state is None:
            return None, None
        height, width = show(state[0]).shape[:2]
        x, y = event.index
        state = (*state[:2], (x / width, y / height))
        return state, spread(model, state, t, stage, block, channel)

    def spread(
        model: str,
        state: tuple[View, np.ndarray, Any] | None,
        t: float,
        stage: int,
        block: int,
        channel: int,
    ) -> np.ndarray | None:
        if state is None or state[2] is None:
            return None
        numbers = int(stage), int(block), int(channel)
        view, _, point = state
        return exhibits[model].draw_heat(view, point, t, *numbers)

    def field(model: str, state: tuple | None, stage: int) -> Any:
        if state is None:
            return None
        return exhibits[model].draw_field(state[0], int(stage))

    with gr.Blocks(
        title='vHeat',
        analytics_enabled=False,
        delete_cache=(SECONDS_KEPT, SECONDS_KEPT),
    ) as page:
        gr.Markdown(INTRODUCTION)
        state = gr.State(None, time_to_live=600)
        with gr.Row():
            model = gr.Dropdown(
                list(exhibits), value=first, label='network', elem_id='model'
            )
            names = [f'image {i + 1}' for i in range(len(samples[first]))]
            sample = gr.Dropdown(
                names, value=None, label='image of the data', elem_id='sample'
            )
            button = gr.UploadButton(
                'Upload an image',
                type='binary',
                file_types=['image'],
                elem_id='upload',
            )
        is_degraded = gr.Checkbox(
            label='the image is degraded already',
            info=RESTORER,
            visible=exhibits[first].is_restorer,
            elem_id='degraded',
        )
        sentence = gr.Markdown('', elem_id='sentence')
        with gr.Row():
            picture = gr.Image(
                label='what the network sees: click a point',
                interactive=False,
                format='png',
                buttons=[],
                elem_id='picture',
            )
            with gr.Column(scale=2):
                heat = gr.Image(
                    label='heat',
                    interactive=False,
                    format='png',
                    buttons=[],
                    elem_id='heat',
                )
                gr.Markdown(films.FILM_CAPTION)
        with gr.Row():
            t = gr.Slider(0, 4, 1, step=0.05, label='time t', elem_id='t')
            stage = gr.Slider(1, 4, 1, step=1, label='stage', elem_id='stage')
            block = gr.Slider(
                1, max(2, *depths), 1, step=1, label='block', elem_id='block'
            )
            channel = gr.Slider(
                *(0, 256, 0),
                step=1,
                label='channel (0: mean of all)',
                elem_id='channel',
            )
        with gr.Tab('Prediction'):
            prediction = gr.Image(
                show_label=False,
                interactive=False,
                format='png',
                buttons=[],
                elem_id='prediction',
            )
        with gr.Tab('Feature maps'):
            gr.Markdown(features.CAPTION)
            maps = gr.Image(
                show_label=False,
                interactive=False,
                format='png',
                buttons=[],
                elem_id='maps',
            )
        with gr.Tab('Receptive field'):
            gr.Markdown(receptive_field.CAPTION)
            erf = gr.Image(
                show_label=False,
                interactive=False,
                format='png',
                buttons=[],
                elem_id='erf',
            )
        shown = [state, picture, prediction, maps, erf, heat, sentence]
        how = [is_degraded, stage]
        button.upload(_tell(upload), [model, button, *how], shown)
        sample.input(
            _tell(lambda m, name, *how: look(m, pick(m, name), *how)),
            [model, sample, *how],
            shown,
        )
        is_degraded.input(_tell(look_again), [model, state, *how], shown)
        model.input(
            _tell(change_model),
            [model, state, *how],
            [sample, block, is_degraded, *shown],
        )
        where = [model, state, t, stage, block, channel]
        picture.select(_tell(click), where, [state, heat])
        for slider in (t, stage, block, channel):
            slider.change(
                _tell(spread),
                where,
                heat,
                trigger_mode='always_last',
                show_progress='hidden',
            )
        stage.change(
            _tell(field),
            [model, state, stage],
            erf,
            trigger_mode='always_last',
            show_progress='hidden',
        )
    return page


def _tell(answer: Callable) -> Callable:
    """Let a visitor know what was wrong, and leave the page as it is."""

    @functools.wraps(answer)  # gradio reads its parameters
    def careful(*arguments: Any) -> Any:
        try:
            return answer(*arguments)
        except PictureError as error:
            gr.Warning(str(error), duration=None)
            return gr.skip()

    return careful
