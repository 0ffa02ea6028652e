"""How a spec is run."""

from experiments.distillation.options import RunOptions
from framework.spec import DistillSpec


def test_small_views_take_one_thread_unless_another_number_is_given() -> None:
    small = DistillSpec.from_dict({"views": {"size": 32}})
    large_teacher = DistillSpec.from_dict({"views": {"size": 32, "teacher_size": 48}})
    assert RunOptions().threads_for(small) == 1
    assert RunOptions().threads_for(large_teacher) is None
    assert RunOptions(threads=3).threads_for(small) == RunOptions(threads=3).threads_for(large_teacher) == 3
