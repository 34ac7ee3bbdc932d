# What every config of this package imports, and the hooks that it takes.
_base_ = './hooks.py'
custom_imports = dict(
    imports=['mmvheat', 'mmvheat.engine'], allow_failed_imports=False
)
