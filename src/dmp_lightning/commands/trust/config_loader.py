"""Loading config files through Hydra: those that are not of this package are checked before anything acts on them."""

from pathlib import Path
from typing import Any

from hydra._internal import hydra as hydra_itself
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra.core.default_element import GroupDefault, ResultDefault
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from yaml import YAMLError

from dmp_lightning.commands.trust.config_files import check_settings, typed_keys
from dmp_lightning.user_error import UserError

CONFIG_DIR = str(Path(__file__).parents[2] / "conf")
OURS = {"pkg://hydra.conf", f"file://{CONFIG_DIR}"}
"""Where Hydra's own files are, and those of this package."""


class Loader(ConfigLoaderImpl):
    """Hydra's loader of configs, which refuses files of others that say what is not for them to say.

    It does so before anything acts on them: all that Hydra reads it reads through this, also in the jobs of a sweep.
    """

    typed: frozenset[str] = frozenset()
    command: str | None = None

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        self.typed, self.command = typed_keys(overrides), config_name
        try:
            config = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        except (YAMLError, UnicodeDecodeError) as error:
            told = " ".join(str(error).split())
            raise UserError(f"A config file cannot be read, correct it: {told}") from error
        for part in ("launcher", "sweeper"):
            # Hydra would build what an interpolation puts inside of them as well.
            if isinstance(config.hydra[part], DictConfig):
                with open_dict(config.hydra[part]):
                    config.hydra[part]["_recursive_"] = False
        return config

    def get_group_options(self, group_name: str, *arguments: Any, **options: Any) -> list[str]:
        """The names that a group can be given, for Tab: not those of files that others include."""
        found = super().get_group_options(group_name, *arguments, **options)
        return [name for name in found if not name.startswith("_")]

    def _process_config_searchpath(
        self, config_name: str | None, parsed_overrides: list[Override], repo: CachingConfigRepository
    ) -> None:
        loaded = None if config_name is None else repo.load_config(config_name)
        if loaded is not None and config_name is not None and not _is_ours(loaded, config_name):
            self._check(loaded, config_name, loaded.config)  # Hydra imports the packages on its search path
        super()._process_config_searchpath(config_name, parsed_overrides, repo)

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        for default in defaults:
            path = default.config_path
            loaded = None if path is None else repo.load_config(path)
            if loaded is None or path is None:
                continue
            if not _is_ours(loaded, path) or default.package != _own_package(loaded, path):
                self._check(loaded, path, self._embed_result_config(loaded, default.package).config)
        return super()._compose_config_from_defaults_list(defaults, repo)

    def _check(self, loaded: ConfigResult, path: str, content: Any) -> None:
        file, group = f"{loaded.path.removeprefix('file://')}/{path}.yaml", _dotted(path.rpartition("/")[0])
        for default in loaded.defaults_list or ():
            chosen = _dotted(default.group if isinstance(default, GroupDefault) else getattr(default, "path", None))
            if not _is_ours(loaded, path) and chosen.partition(".")[0] == "hydra" and chosen not in self.typed:
                raise UserError(f"{file} chooses {chosen}, which is Hydra's own: type it on the command line.")
        group = group if group.startswith("hydra.") and group in self.typed else ""
        check_settings(OmegaConf.to_container(content, resolve=False), file, self.typed, group, self.command)


def install() -> None:
    """Let Hydra load configs with `Loader`; it has no other way in than its own name for the class."""
    hydra_itself.ConfigLoaderImpl = Loader  # type: ignore[misc]


def _is_ours(loaded: ConfigResult, path: str) -> bool:
    """Whether a file is of this package or Hydra's, and not one that a path leads to out of their folders."""
    return (loaded.path in OURS or loaded.is_schema_source) and not (path.startswith("/") or ".." in path.split("/"))


def _own_package(loaded: ConfigResult, path: str) -> str:
    """Where in the config a file goes if nobody says otherwise."""
    package = loaded.header.get("package")
    return path.rpartition("/")[0].replace("/", ".") if package is None else package.replace("_global_", "")


def _dotted(group: str | None) -> str:
    return (group or "").strip("/").replace("/", ".")
