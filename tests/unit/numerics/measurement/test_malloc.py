"""Memory is kept for the time of a measurement and no longer."""

import pytest

from pytest_linearity.numerics.measurement import malloc


class FakeLibrary:
    def __init__(self):
        self.calls = []

    def mallopt(self, parameter, value):
        self.calls.append((parameter, value))

    def malloc_trim(self, padding):
        self.calls.append(("trim", padding))


@pytest.fixture
def library(monkeypatch):
    fake = FakeLibrary()
    monkeypatch.setattr(malloc, "_glibc", lambda: fake)
    return fake


def test_thresholds_are_raised_inside_and_usual_again_after_an_error(library):
    with pytest.raises(KeyboardInterrupt), malloc.kept_pages():
        raise KeyboardInterrupt
    first, after = dict(library.calls[:2]), dict(library.calls)
    assert all(first[key] > after[key] for key in (-1, -3))
    assert library.calls[-1] == ("trim", 0)


def test_nothing_happens_without_glibc(monkeypatch):
    monkeypatch.setattr(malloc, "_glibc", lambda: None)
    with malloc.kept_pages():
        pass


def test_a_library_without_mallopt_is_not_glibc(monkeypatch):
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda name: object())
    malloc._glibc.cache_clear()
    try:
        assert malloc._glibc() is None
    finally:
        malloc._glibc.cache_clear()
