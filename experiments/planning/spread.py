"""What a run takes on many devices, on paper: from the time of a step on one of them, and a few rates."""

from __future__ import annotations

from dataclasses import dataclass

# What is assumed of a cluster where nobody says otherwise: bytes a second that a device sends and receives at the same
# time, devices that share a host, and what a device costs.
LINK_BYTES, PER_HOST, EUROS_AN_HOUR = 25e9, 8, 2.5
_GRADIENT_BYTES = 4


@dataclass(frozen=True)
class Spread:
    """A run on so many devices.

    Attributes:
        devices: how many.
        batch_size: examples in an update, over all devices.
        parameters: of the student.
        step_seconds: of a step with the whole batch on one device.
        total_steps: of the run.
        link_bytes: bytes a second between devices.
    """

    devices: int
    batch_size: int
    parameters: int
    step_seconds: float
    total_steps: int
    link_bytes: float = LINK_BYTES

    @property
    def reduced_bytes(self) -> float:
        """What each device sends in a step, so that all have the sum of the gradients: a ring's 2 (n - 1) / n."""
        return 2 * (self.devices - 1) / self.devices * _GRADIENT_BYTES * self.parameters

    @property
    def reducing_seconds(self) -> float:
        """Of a step; nothing else is done meanwhile."""
        return self.reduced_bytes / self.link_bytes

    @property
    def seconds(self) -> float:
        """Of a step."""
        return self.step_seconds / self.devices + self.reducing_seconds

    @property
    def efficiency(self) -> float:
        """The share of the devices' time in which they don't wait for each other."""
        return self.step_seconds / self.devices / self.seconds

    @property
    def images_a_host(self) -> float:
        """Images a second that a host's loader has to give."""
        return self.batch_size / self.devices * min(PER_HOST, self.devices) / self.seconds

    @property
    def hours(self) -> float:
        """Of the whole run."""
        return self.seconds * self.total_steps / 3600

    @property
    def euros(self) -> float:
        """Of the whole run."""
        return self.hours * self.devices * EUROS_AN_HOUR

    def describe(self) -> str:
        """In a line."""
        return (
            f"over {self.devices} such devices, {self.batch_size / self.devices:.3g} examples each: "
            f"{self.seconds:.3g} s a step, {self.reducing_seconds:.2g} s of it for the sum of the gradients "
            f"({self.reduced_bytes / 1e6:.3g} MB at {self.link_bytes / 1e9:g} GB/s), {self.efficiency:.0%} efficient; "
            f"{self.hours:.3g} h, about {self.euros:,.0f} euros at {EUROS_AN_HOUR:g} an hour; "
            f"{self.images_a_host:,.0f} images/s from each host's loader"
        )
