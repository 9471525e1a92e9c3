"""Readers that ask again and again while something is done to what they read."""

import threading
from collections.abc import Callable, Mapping
from typing import Self

# What was seen, by what it is of: it may only grow.
Seen = Mapping[str, int]
# What a reader asks, and what lets go of its connection.
Question = tuple[Callable[[], Seen], Callable[[], None]]


class Readers:
    """Readers side by side; each asks a question of its own in a closed loop, while within.

    `open_question` is called in a reader's own thread and returns the question and what closes it;
    the question returns what it saw. No answer may be below one that *any* reader had before it was
    asked; and no question may fail.
    """

    def __init__(self, *open_questions: Callable[[], Question]) -> None:
        self.answers = 0
        self.wrong: list[str] = []
        self._greatest: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._read, args=(question,)) for question in open_questions
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        if kind is None:
            assert not self.wrong, self.wrong[:3]

    def have_asked(self, more: int) -> Callable[[], bool]:
        """Return what says whether so many more questions were answered, or one went wrong."""
        wanted = self.answers + more
        return lambda: self.answers >= wanted or bool(self.wrong)

    def _read(self, open_question: Callable[[], Question]) -> None:
        ask, close = open_question()
        try:
            while not self._stopping.is_set() and not self.wrong:
                with self._lock:
                    before = dict(self._greatest)
                self._note(before, ask())
        except Exception as error:  # noqa: BLE001 - whatever it is, a reader saw it
            self.wrong.append(f"{type(error).__name__}: {error}")
        finally:
            close()

    def _note(self, before: Seen, seen: Seen) -> None:
        with self._lock:
            self.answers += 1
            for what, value in seen.items():
                if value < before.get(what, value):
                    self.wrong.append(f"{what} went back from {before[what]} to {value}")
                self._greatest[what] = max(value, self._greatest.get(what, value))
