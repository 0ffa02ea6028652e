"""What JAX alone has: compiled programs that the next process finds, and a pool of threads of a chosen size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import pytest

from backends.base import Settings

PROJECT = Path(__file__).parents[3]
# Whatever is compiled is kept here, however short it took: on a busy machine times vary.
COMPILES = """
import sys
from pathlib import Path
import backends

device = backends.load("jax").configure(backends.base.Settings("cpu", 1, cache=Path(sys.argv[1])))
import jax

assert jax.config.jax_persistent_cache_min_compile_time_secs > 0
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
print(device.threads, float(jax.jit(lambda x: jax.numpy.sin(x) @ x)(jax.numpy.ones((8, 8))).sum()))
"""


def compile_in_a_process(cache: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", COMPILES, str(cache)],
        cwd=PROJECT,
        env=os.environ | {"KERAS_BACKEND": "jax"} | environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("platforms", ["cuda", "cpuu", ",", "nosuch,cpu"])
def test_platforms_that_are_not_here_are_the_users_mistake(platforms: str) -> None:
    """In processes of their own: JAX starts its platforms once."""
    done = subprocess.run(
        [sys.executable, "-c", "import backends; backends.load('jax').configure(backends.base.Settings('cpu', 1))"],
        cwd=PROJECT,
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": platforms},
        capture_output=True,
        text=True,
        timeout=200,
    )
    if platforms == "cuda" and done.returncode == 0:
        pytest.skip("there is a GPU")
    assert f"UserError: JAX_PLATFORMS = '{platforms}' names what JAX can't use here" in done.stderr


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*-cache")}


def test_the_next_process_finds_what_one_compiled(tmp_path: Path) -> None:
    first = compile_in_a_process(tmp_path)
    kept = entries(tmp_path)
    assert kept
    assert compile_in_a_process(tmp_path) == first
    assert entries(tmp_path) == kept


def test_the_user_s_own_folder_and_number_of_threads_go_first(tmp_path: Path) -> None:
    own = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "own"), "PJRT_NPROC": "2"}
    assert compile_in_a_process(tmp_path / "ours", **own).startswith("2 ")
    assert not (tmp_path / "ours").exists()


def test_tensorfloat32_is_off_unless_asked_for(engine: Any, tiny: Any) -> None:
    assert jax.config.jax_default_matmul_precision == "highest"
    try:
        device = engine.configure(Settings("cpu", tf32=True))
        assert jax.config.jax_default_matmul_precision == "tensorfloat32"
        # A name that JAX doesn't know would be refused only here.
        tiny.run(tiny.trainer(tiny.spec(), device=device), tiny.spec(), 1)
    finally:
        engine.configure(Settings("cpu"))
