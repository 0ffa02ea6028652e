"""Data sets of the Hugging Face hub: one quick look whether the hub answers, then `datasets.load_dataset`.

`datasets` retries for 23 s before it says that an id can't be reached; the look costs a few seconds at most.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.data.catalog import CATALOG
from framework.data.muted import muted
from framework.data.offline import OFFLINE, PACKAGES
from framework.errors import UserError, one_line

if TYPE_CHECKING:
    from datasets import DatasetDict

_TIMEOUT = 5.0  # seconds
_FORMATS = ("arrow", "audiofolder", "csv", "imagefolder", "json", "parquet", "text", "videofolder", "webdataset")


def load_hub(name: str, config: str | None) -> tuple[DatasetDict, tuple[str, ...]]:
    """Load all splits of a hub data set, from its cached copy where the hub can't be reached.

    Args:
        name: the id, `"ethz/food101"`.
        config: its own configuration, if it has several.

    Returns:
        The splits, and notes for the user.

    Raises:
        UserError: there is no such id, no way to it, or no such configuration; it says what to do.
    """
    import datasets

    if name in _FORMATS:  # `datasets` would read whatever lies in the working folder
        raise UserError(f"data {name!r} is a file format: give the folder or file itself")
    problem = None if datasets.config.HF_HUB_OFFLINE else _look(name)
    with muted(bars=True, offline=problem is not None):
        try:
            loaded = datasets.load_dataset(name, config)
        except ConnectionError as error:
            raise UserError(_unreachable(name, problem or "HF_HUB_OFFLINE is set")) from error
        except datasets.exceptions.DatasetNotFoundError as error:
            raise UserError(_unknown(name, str(error))) from error
        except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
            raise UserError(f"data {name!r} can't be loaded: {one_line(error, 400)}") from error
    notes = (f"{name}: the hub can't be reached ({problem}); its cached copy is used",) if problem else ()
    return loaded, notes


def _look(name: str) -> str | None:
    """Ask the hub for the id once: None if it is there, else why there is no answer.

    Raises:
        UserError: the hub answers that there is no such id.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    try:
        HfApi().dataset_info(name, timeout=_TIMEOUT)
    except GatedRepoError:
        return None  # load_dataset says what to accept
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(_unknown(name, "the hub has no such data set, or it is private")) from error
    except HfHubHTTPError as error:
        return f"it answers {error.response.status_code}"
    except _network_errors() as error:
        return str(error) or type(error).__name__
    return None


def _network_errors() -> tuple[type[Exception], ...]:
    """What the installed HTTP client raises; the hub's library has used several."""
    import importlib

    errors: list[type[Exception]] = [OSError, TimeoutError]
    for client, error in (("httpx2", "HTTPError"), ("httpx", "HTTPError"), ("requests", "RequestException")):
        try:
            errors.append(getattr(importlib.import_module(client), error))
        except ImportError:
            continue
    return tuple(errors)


def _unreachable(name: str, why: str) -> str:
    if name in PACKAGES:
        return (
            f"data {name!r} are not here, and the hub can't be reached ({why}): go online once, or {PACKAGES[name]}, "
            "where they are found"
        )
    return (
        f"data {name!r}: there is no such file or folder in {Path.cwd()}, and the hub can't be reached ({why}): "
        f"{_nearest(name)}without a network take data=glyphs or data=digits, a folder of images, or download it "
        "elsewhere with datasets.load_dataset(...).save_to_disk(FOLDER) and give that folder"
    )


def _unknown(name: str, why: str) -> str:
    note = CATALOG[name].note if name in CATALOG else ""
    why = note or f"there is no such file or folder in {Path.cwd()}, and on the hub: {one_line(why)}"
    return f"data {name!r}: {why}; {_nearest(name)}known: {', '.join((*OFFLINE, *CATALOG))}"


def _nearest(name: str) -> str:
    names: dict[str, Any] = {known.split("/")[-1].lower(): known for known in (*OFFLINE, *CATALOG)}
    close = difflib.get_close_matches(name.split("/")[-1].lower(), names, n=1, cutoff=0.7)
    return f"did you mean {names[close[0]]!r}? " if close and names[close[0]] != name else ""
