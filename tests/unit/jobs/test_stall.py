"""When a worker process ends itself."""

from functools import partial

from jobs.stall import Guard, Line


class Scene:
    """A guard over two lines whose marks the test moves, second by second."""

    def __init__(self, limit: float) -> None:
        self.marks: dict[str, object] = {"pump": 0, "watch": 0}
        self.ended: list[str] = []
        lines = [Line(name, partial(self.mark, name)) for name in self.marks]
        self.guard = Guard(limit, *lines, end=self.ended.append)
        self.now = self.guard._looked

    def mark(self, name: str, now: float) -> object:
        return now if self.marks[name] == "idle" else self.marks[name]

    def passes(self, seconds: float, *, moving: str = "") -> None:
        for _ in range(int(seconds)):
            self.now += 1.0
            if moving:
                self.marks[moving] = self.now
            self.guard.look(self.now)


def test_who_gets_on_or_has_nothing_to_do_is_left_alone() -> None:
    scene = Scene(10)
    scene.marks["pump"] = "idle"
    scene.passes(100, moving="watch")

    assert scene.ended == []
    assert scene.guard.quiet <= 1


def test_a_line_without_progress_ends_the_process_however_well_the_other_gets_on() -> None:
    scene = Scene(10)
    scene.passes(9, moving="watch")
    assert (scene.ended, scene.guard.quiet >= 8) == ([], True)
    scene.passes(3, moving="watch")

    assert scene.ended[0] == "pump has made no progress for 11 s"


def test_a_watch_that_hangs_is_as_bad() -> None:
    scene = Scene(10)
    scene.marks["pump"] = "idle"
    scene.passes(12)

    assert scene.ended[0].startswith("watch ")


def test_zero_means_never() -> None:
    scene = Scene(0)
    scene.passes(1000)

    assert (scene.ended, scene.guard.quiet > 900) == ([], True)


def test_a_process_that_was_frozen_itself_counts_anew() -> None:
    scene = Scene(10)
    scene.passes(2, moving="watch")
    scene.now += 3600
    scene.passes(9, moving="watch")
    assert scene.ended == []
    scene.passes(3, moving="watch")

    assert scene.ended
