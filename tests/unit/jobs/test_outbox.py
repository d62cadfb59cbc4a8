"""Where outcomes wait for their commit."""

import threading
from typing import Any, cast

from jobs.bell import Bell
from jobs.outbox import Outbox


def test_the_watch_does_not_wait_for_a_commit_that_is_under_way() -> None:
    outbox = Outbox(1, Bell())
    outbox.put(cast("Any", "an outcome"))
    watch = threading.Thread(target=outbox.flush, args=(cast("Any", "the watch's own connection"),), daemon=True)
    with outbox._lock:  # as `commit_within` does for as long as the handler's own statements run
        watch.start()
        watch.join(5)

        assert not watch.is_alive()
    assert len(outbox) == 1
