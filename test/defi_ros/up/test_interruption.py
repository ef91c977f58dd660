import signal

import pytest

from defi_ros.up.interruption import InterruptedByPersonError, Interruption


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGINT, "stopped by Ctrl-C"),
        (signal.SIGTERM, "stopped by SIGTERM"),
        (signal.SIGHUP, "stopped by SIGHUP"),
    ],
)
def test_a_signal_is_noted_and_raised_where_the_main_loop_asks(number, reason):
    with Interruption() as interruption:
        interruption.check()
        signal.raise_signal(number)
        with pytest.raises(InterruptedByPersonError, match=reason):
            interruption.check()


def test_a_second_signal_changes_nothing():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert interruption.reason == "stopped by SIGTERM"


def test_the_handlers_of_before_are_back_afterwards():
    before = signal.getsignal(signal.SIGINT)
    with Interruption():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
