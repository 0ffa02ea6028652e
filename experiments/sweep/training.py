"""The students of one group in lockstep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.distillation.distillation import tell
from experiments.sweep.student import Student
from framework.loop import progress as shown
from framework.loop.progress import Progress
from framework.loop.stop import Stop
from framework.loop.together import CommonProgress, Shared, together
from framework.protocols import Outcome

# Makes what shows how far a group of students is, once they are prepared.
Show = Callable[[Sequence[Student]], Progress]


def train(
    students: Sequence[Student],
    sweep: str,
    flags: Mapping[str, Any],
    stop: Stop,
    ended: Callable[[], None],
    show: Show | None = None,
) -> None:
    """Train a group, each student within a Sacred run of its own.

    Args:
        students: which; each is opened.
        sweep, flags: as in `Student.run`.
        stop: ends all of them when asked.
        ended: told whenever one has come to an end.
        show: makes what shows how far the group is; None shows the group alone.
    """
    begun: list[Student] = []

    def begin() -> None:
        if len(begun) == len(students):
            _lockstep([each for each in students if each.outcome is None], stop, ended, show or _alone)
            return
        student = students[len(begun)]
        begun.append(student)
        student.run(stop, sweep, flags, begin)

    begin()


def _alone(students: Sequence[Student]) -> Progress:
    """A bar for one group."""
    ready = [student.ready for student in students]
    longest, first = max(each.total_steps for each in ready), min(each.trainer.steps_done for each in ready)
    tell(_title(students, longest))
    return shown.make(longest, ready[0].spec.batch_size, ready[0].splits.train.num_examples, done=first)


def _lockstep(students: Sequence[Student], stop: Stop, ended: Callable[[], None], show: Show) -> None:
    if stop.status is not None:
        for student in students:
            student.ended(Outcome(stop.status, 0))
    if not students or stop.status is not None:
        return
    # The first that asks makes the batches for all, and labels are in them only where they count. What can't be made is
    # told here: it would be no fault of one student.
    leader = max(students, key=lambda each: each.spec.loss.task_weight).ready
    shared, _ = Shared(leader.loader, leader.trainer), leader.evaluator
    progress = CommonProgress(show(students), len(students))

    def told(student: Student, outcome: Outcome) -> None:
        student.ended(outcome)
        ended()

    loops = {student: (student.ready.trainer, student.turns(stop, progress, shared)) for student in students}
    together(loops, stop, told)


def _title(students: Sequence[Student], steps: int) -> str:
    spec, leader, count = students[0].spec, students[0].ready, len(students)
    many = f"{count} students on one teacher's pass" if count > 1 else "1 student"
    rounded = ", TensorFloat-32" if students[0].options.tf32 else ""
    return (
        f"{many}: {spec.teaching}, {steps} steps of {spec.data.name} on {leader.backend.name}, {leader.device}{rounded}"
    )
