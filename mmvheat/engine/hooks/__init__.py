"""Hooks that make runs dependable and visible."""

from .finite_loss_hook import FiniteLossHook
from .float32_ops_hook import Float32OpsHook
from .learning_curves_hook import LearningCurvesHook
from .paint_predictions_hook import PaintPredictionsHook
from .resume_data_hook import ResumeDataHook
from .run_summary_hook import RunSummaryHook
from .save_on_signal_hook import SaveOnSignalHook

__all__ = [
    'FiniteLossHook',
    'Float32OpsHook',
    'LearningCurvesHook',
    'PaintPredictionsHook',
    'ResumeDataHook',
    'RunSummaryHook',
    'SaveOnSignalHook',
]
