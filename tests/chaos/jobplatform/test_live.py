"""The database is killed under open streams: they go on once it is back, and have missed nothing."""

import pytest
from django.conf import settings
from django.db import connection

from jobs import services
from tests.acceptance.jobplatform.test_live import Site
from tests.processes import Platform, Servers

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


def test_streams_outlive_the_database(servers: Servers, own_platform: Platform) -> None:
    own_platform._env |= {"ALLOWED_HOSTS": "127.0.0.1", "API_KEY_PEPPER": settings.API_KEY_PEPPER}
    # The servers of these tests commit without waiting for the disk; those that ship do wait.
    name = own_platform.value("select current_database()")
    own_platform.execute(f"alter database {name} set synchronous_commit = on")
    connection.close()
    site = Site(own_platform)
    (job_id,) = site.submit()
    with site.listen() as listener, site.listen(f"/api/v1/jobs/{job_id}/stream") as of_job:
        before = len(site.logged())
        site.submit(3)
        listener.until(3)

        servers.kill("postgres")
        site.platform.wait_until(lambda: "cannot read the log" in site.program.log, "the process to notice")
        servers.revive()
        connection.close()
        site.submit(4)
        services.cancel(project_id=site.ours.project.id, job_id=job_id, actor="test")

        expected = site.logged()[before:]
        assert len(expected) == 8
        assert listener.until(8) == expected
        of_job.to_the_end()
        assert of_job.types == ["job.queued", "job.cancelled", "end"]
        assert (
            site.status("/api/v1/stream?last_event_id=no", site.ours.text) == 400
        )  # asked on a connection that was lost
