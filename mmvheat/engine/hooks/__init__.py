"""Hooks that make runs dependable and visible."""

from mmvheat.visualization.hooks import KSpectrumHook, LearningCurvesHook

from .check_data_hook import CheckDataHook
from .check_weights_hook import CheckWeightsHook
from .cuda_graph_hook import CUDAGraphHook
from .exact_resume_hook import ExactResumeHook
from .finite_loss_hook import FiniteLossHook
from .float32_ops_hook import Float32OpsHook
from .gather_results_hook import GatherResultsHook
from .run_summary_hook import RunSummaryHook
from .save_on_signal_hook import SaveOnSignalHook

__all__ = [
    'CUDAGraphHook',
    'CheckDataHook',
    'CheckWeightsHook',
    'ExactResumeHook',
    'FiniteLossHook',
    'Float32OpsHook',
    'GatherResultsHook',
    'KSpectrumHook',
    'LearningCurvesHook',
    'RunSummaryHook',
    'SaveOnSignalHook',
]
