"""Let configs of other repositories inherit ``mmvheat::`` ones."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE


def register_configs() -> None:
    """Make ``_base_ = 'mmvheat::...'`` resolve and build in any install.

    mmengine looks for configs at the distribution's location, which in an
    editable install is site-packages, not the source tree. A module that is
    no distribution is located by import, right in every install.

    Then it marks what a config of a package defines with the package's name
    as scope. The package has no registries: its configs belong to the scope
    of the library that they name, as if they were files of the user.
    """
    if 'mmvheat' in MODULE2PACKAGE:
        return
    MODULE2PACKAGE['mmvheat'] = 'mmvheat.version'
    get_cfg_path = Config._get_cfg_path

    def get_cfg_path_and_scope(
        cfg_path: str, filename: str
    ) -> tuple[str, str | None]:
        path, scope = get_cfg_path(cfg_path, filename)
        return path, None if scope == 'mmvheat' else scope

    Config._get_cfg_path = staticmethod(get_cfg_path_and_scope)
