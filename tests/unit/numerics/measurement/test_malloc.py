"""Memory is kept for the time of a measurement and no longer."""

import pytest

from pytest_linearity import pages


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
    monkeypatch.setattr(pages, "_glibc", lambda: fake)
    return fake


def test_thresholds_are_raised_inside_and_usual_again_after_an_error(library):
    with pytest.raises(KeyboardInterrupt), pages.kept_pages():
        raise KeyboardInterrupt
    first, after = dict(library.calls[:2]), dict(library.calls)
    assert all(first[key] > after[key] for key in (-1, -3))
    assert library.calls[-1] == ("trim", 0)


def test_nothing_happens_without_glibc(monkeypatch):
    monkeypatch.setattr(pages, "_glibc", lambda: None)
    with pages.kept_pages():
        pass


def test_a_library_without_mallopt_is_not_glibc(monkeypatch):
    monkeypatch.setattr(pages.ctypes, "CDLL", lambda name: object())
    pages._glibc.cache_clear()
    try:
        assert pages._glibc() is None
    finally:
        pages._glibc.cache_clear()
