# What mmvheat adds to a run. A config takes these by
# `default_hooks = _base_.vheat_hooks`; one that inherits it switches any of
# them off by its name, default_hooks = dict(run_summary=None). Full names of
# the classes are found whatever else a config imports.
vheat_hooks = dict(
    # Data that do not fit the model end the run before it starts.
    check_data=dict(type='mmvheat.engine.hooks.CheckDataHook'),
    # A resumed run equals one that was never interrupted.
    exact_resume=dict(type='mmvheat.engine.hooks.ExactResumeHook'),
    # SIGTERM saves and exits.
    save_on_signal=dict(type='mmvheat.engine.hooks.SaveOnSignalHook'),
    # Checkpoints are written whole or not at all, and never hold NaN.
    checkpoint=dict(backend_args=dict(backend='atomic')),
    finite_loss=dict(type='mmvheat.engine.hooks.FiniteLossHook'),
    # NMS and RoIAlign have no bfloat16 kernel.
    float32_ops=dict(type='mmvheat.engine.hooks.Float32OpsHook'),
    # Test results need no folder that all machines share.
    gather_results=dict(type='mmvheat.engine.hooks.GatherResultsHook'),
    run_summary=dict(type='mmvheat.engine.hooks.RunSummaryHook'),
    learning_curves=dict(type='mmvheat.engine.hooks.LearningCurvesHook'),
)
