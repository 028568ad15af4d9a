"""A saved state is gone on from only if it is what was saved, by this version, for this run."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conan_assets.training import state as state_module
from conan_assets.training.state import State, StateClock, StateError, load_state, save_state

STATE = State(
    1, 7, {"weight": torch.arange(6.0).reshape(2, 3), "flags": torch.tensor([True, False]), "count": torch.tensor(3)}
)


def test_a_state_is_read_back_as_it_was_saved(tmp_path: Path):
    save_state(tmp_path, State(0, 3, {}), "run")
    save_state(tmp_path, STATE, "run")
    found = load_state(tmp_path, "run")
    assert found is not None
    assert (found.stage, found.step) == (1, 7)
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in STATE.tensors.items())
    assert len(list((tmp_path / "state").iterdir())) == 1


def test_the_state_of_another_run_is_refused(tmp_path: Path):
    save_state(tmp_path, STATE, "run")
    with pytest.raises(StateError, match="another config, other data or another version of training; delete"):
        load_state(tmp_path, "other")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_any_flipped_bit_and_any_truncation_is_found_and_the_file_named(
    tmp_path: Path, place: float, bit: int, cut: bool
):
    save_state(tmp_path, STATE, "run")
    (path,) = (tmp_path / "state").iterdir()
    whole = bytearray(path.read_bytes())
    position = int(place * len(whole))
    if cut:
        damaged = whole[:position]
    else:
        damaged = whole
        damaged[position] ^= 1 << bit
    path.write_bytes(damaged)
    with pytest.raises(StateError, match=rf"the saved state {path} is damaged \(.*\): delete it, and training starts"):
        load_state(tmp_path, "run")


def test_states_are_saved_by_time_and_never_for_more_than_a_fiftieth_of_it(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr(state_module.time, "monotonic", lambda: now[0])
    for seconds, expected in ((1.0, 601.0), (30.0, 600.0 + 30 + 1_500)):
        now[0] = 0.0
        clock = StateClock(minutes=10)
        now[0] = 599.0
        assert not clock.is_due
        now[0] = 600.0
        assert clock.is_due
        with clock.saving():
            now[0] += seconds
        now[0] = expected - 1
        assert not clock.is_due
        now[0] = expected + 600
        assert clock.is_due
        assert clock.seconds == seconds


def test_a_state_after_every_step_is_an_extreme():
    clock = StateClock(minutes=0)
    assert clock.is_due
    with clock.saving():
        pass
    assert clock.is_due
