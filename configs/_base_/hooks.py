# What mmvheat adds to a run. A config takes these by
# `default_hooks = _base_.vheat_hooks`; one that inherits it switches any of
# them off by its name, default_hooks = dict(run_summary=None).
vheat_hooks = dict(
    # Data that do not fit the model end the run before it starts.
    check_data=dict(type='CheckDataHook'),
    # A resumed run equals one that was never interrupted.
    exact_resume=dict(type='ExactResumeHook'),
    # SIGTERM saves and exits.
    save_on_signal=dict(type='SaveOnSignalHook'),
    # Checkpoints are written whole or not at all, and never hold NaN.
    checkpoint=dict(backend_args=dict(backend='atomic')),
    finite_loss=dict(type='FiniteLossHook'),
    # NMS and RoIAlign have no bfloat16 kernel.
    float32_ops=dict(type='Float32OpsHook'),
    # Test results need no folder that all machines share.
    gather_results=dict(type='GatherResultsHook'),
    run_summary=dict(type='RunSummaryHook'),
    learning_curves=dict(type='LearningCurvesHook'),
)
