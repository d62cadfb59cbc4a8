"""What the Celery application lets through (S09): doorbells in JSON, for tasks that are doorways and nothing more."""

from events.consumers import SUBSCRIPTIONS
from jobplatform.celery import app


def test_nothing_but_json_is_read_or_written() -> None:
    assert list(app.conf.accept_content) == ["json"]
    written = (app.conf.task_serializer, app.conf.result_serializer, app.conf.event_serializer)
    assert written == ("json", "json", "json")


def test_results_are_kept_nowhere_and_no_task_runs_where_it_is_called() -> None:
    assert not app.conf.result_backend
    assert app.conf.task_ignore_result
    assert not app.conf.task_reject_on_worker_lost
    assert not app.conf.task_always_eager


def test_every_task_that_is_not_celerys_own_is_a_doorway() -> None:
    ours = {name: task.run for name, task in app.tasks.items() if not name.startswith("celery.")}

    # Tests register consumers of their own, when the application may be complete already.
    consumers = {
        found.kind
        for found in SUBSCRIPTIONS.values()
        if not (found.consume or found.count).__module__.startswith("tests.")
    }
    assert consumers
    assert {"message.process", *consumers} <= ours.keys()
    assert {run.__module__ for run in ours.values()} == {"jobs.tasks"}
