"""Scalars of TensorBoard's event files."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def last_value(events: EventAccumulator, tag: str) -> float:
    """Return a scalar's value at its last step.

    A run writes two event files, which are read in the order of their names. Within one second `.10` comes before `.9`,
    so the value that was read last may be the placeholder of the beginning.
    """
    return max(events.Scalars(tag), key=lambda event: event.step).value
