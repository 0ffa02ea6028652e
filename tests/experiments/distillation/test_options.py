"""How a spec is run."""

from experiments.distillation.options import RunOptions
from framework.spec import DistillSpec


def test_small_views_take_one_thread_unless_another_number_is_given() -> None:
    small = DistillSpec.from_dict({"views": {"size": 32}})
    large_teacher = DistillSpec.from_dict({"views": {"size": 32, "teacher_size": 48}})
    assert RunOptions().settings(small).threads == 1
    assert RunOptions().settings(large_teacher).threads is None
    assert RunOptions(threads=3).settings(small).threads == RunOptions(threads=3).settings(large_teacher).threads == 3
