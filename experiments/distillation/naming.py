"""What a teacher's name means: a folder that is shipped, packaged, trained here or stored, or a model to be built."""

from __future__ import annotations

from pathlib import Path

from experiments.config import recipe_spec
from experiments.distillation import packaged
from experiments.distillation.packaged import PACKAGED
from framework.errors import UserError, near
from framework.files import stored
from framework.files.paths import path_of
from framework.spec.named import imported

SHIPPED = Path(__file__).parents[1] / "stored"
# Teachers that `distillation.trained` trains when they are first asked for, by the recipe of that name.
TRAINED = {"digits": "digits_teacher"}


def find(name: str, root: Path) -> Path | None:
    """The folder of a stored teacher; None where the name means a model to be built.

    Args:
        name: of the teacher. One that is made when missing has its folder before there is anything in it.
        root: the folder for caches.

    Raises:
        UserError: the name can be no teacher.
    """
    if name in TRAINED:
        return trained_folder(name, root)
    if name in PACKAGED:
        return packaged.folder(name, root)
    check_name(name)
    return stored_folder(name)


def stored_folder(name: str) -> Path | None:
    """Where a stored model of this name is: shipped, or in a folder; None where there is none."""
    own = path_of(name)
    return next((folder for folder in (SHIPPED / name, own, own / "student") if stored.is_stored(folder)), None)


def trained_folder(name: str, root: Path) -> Path:
    """Where a teacher of `TRAINED` is kept once it is trained."""
    recipe = TRAINED[name]
    return root / "teachers" / f"{recipe}-{recipe_spec(recipe).fingerprint}"


def stored_names() -> list[str]:
    """The teachers that have a name of their own."""
    shipped = SHIPPED.iterdir() if SHIPPED.is_dir() else ()
    return sorted({*TRAINED, *PACKAGED, *(folder.name for folder in shipped if stored.is_stored(folder))})


def check_name(name: str) -> None:
    """Refuse a name that can be no teacher, without building anything.

    Raises:
        UserError: neither a stored teacher nor a model to be built.
    """
    if name in TRAINED or name in PACKAGED or stored_folder(name):
        return
    if ":" in name or name.endswith(".keras"):
        check_own_model(name, "teacher.name")
        return
    if path_of(name).is_dir():
        raise UserError(f"teacher.name = {name!r}: there is no {stored.CARD} in that folder")
    if "/" in name or name.startswith("~"):
        looked = path_of(name).absolute()
        raise UserError(f"teacher.name = {name!r}: there is no such folder (looked for {looked})")
    from framework.models.catalog import MODELS

    if name not in MODELS:
        known = near(name, [*stored_names(), *MODELS])
        others = (
            f"or a run's folder (there is none of this name in {Path.cwd()}), a .keras file, package.module:function"
        )
        raise UserError(f"teacher.name = {name!r}: {known}; {others}")


def check_own_model(name: str, key: str) -> None:
    """Refuse an import path or a `.keras` file that isn't there, without building it; `key` is what names it.

    Raises:
        UserError: it says where it was looked for.
    """
    if not name.endswith(".keras"):
        imported(name, key)
    elif not path_of(name).is_file():
        looked = path_of(name).absolute()
        raise UserError(f"{key} = {name!r}: there is no such file (looked for {looked})")
