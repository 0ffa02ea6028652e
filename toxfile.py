"""What tox does beyond tox.ini: a fresh environment may begin with the libraries of those before it.

Five environments hold the same libraries, and to unpack them anew takes longer than most of the tests. So the files
of the environments that `begin_with` names are linked first. pip is asked for all that an environment names, as ever,
and adds what is missing.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tox.plugin import impl

if TYPE_CHECKING:
    from tox.config.sets import EnvConfigSet
    from tox.session.state import State
    from tox.tox_env.api import ToxEnv
    from tox.tox_env.installer import InstallArguments

ROOT = Path(__file__).parent
# Each environment has its own: the installer, what virtualenv puts beside it, and the project.
OWN = (
    "pip",
    "setuptools",
    "_distutils_hack",
    "distutils-precedence",
    "pkg_resources",
    "patient_teachers",
    "__editable__",
)


@impl
def tox_add_env_config(env_conf: EnvConfigSet, state: State) -> None:
    """Let tox.ini say `begin_with`."""
    env_conf.add_config("begin_with", list[str], [], "environments whose libraries a fresh one begins with")


@impl
def tox_on_install(tox_env: ToxEnv, arguments: InstallArguments, section: str, of_type: str) -> None:
    """Before the project and what it needs is installed in a fresh environment, link the libraries of the others."""
    if of_type != "package" or complete(tox_env.env_dir).exists():
        return
    site_packages = Path(tox_env.conf["env_site_packages_dir"])
    for name in tox_env.conf["begin_with"]:
        other = tox_env.env_dir.with_name(name)
        if complete(other).is_file() and complete(other).read_text() == asked():
            link(other / site_packages.relative_to(tox_env.env_dir), site_packages)


@impl
def tox_before_run_commands(tox_env: ToxEnv) -> None:
    """All is installed by now: others may begin with it."""
    complete(tox_env.env_dir).write_text(asked())


def complete(env_dir: Path) -> Path:
    """Where it says of which requirements an environment was made."""
    return env_dir / "complete.txt"


def asked() -> str:
    """A digest of today's requirements: an environment of others is no beginning."""
    names = ("pyproject.toml", "constraints.txt", "tox.ini")
    return hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in names)).hexdigest()


def link(source: Path, target: Path) -> None:
    """Link each file of `source` that isn't in `target`; pip replaces files and never writes into one."""
    for folder, folders, files in os.walk(source):
        place = target / Path(folder).relative_to(source)
        if folder == str(source):
            folders[:] = [name for name in folders if not name.startswith(OWN)]
            files = [name for name in files if not name.startswith(OWN)]
        place.mkdir(exist_ok=True)
        for name in files:
            if not (place / name).exists():
                os.link(Path(folder) / name, place / name)
