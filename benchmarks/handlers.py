"""The two no-op kinds that the benchmark runs, loaded through JOBPLATFORM_HANDLERS like anybody else's."""

from pydantic import BaseModel

from benchmarks import recorder
from jobs import Batch, Done, Limit, Run, handler


class Number(BaseModel):
    """What a job carries."""

    number: int


@handler("bench.noop", payload=Number, batch=Batch(512), example={"number": 1})
def noop(job: Run[Number]) -> Done:
    """Do nothing but be counted."""
    recorder.tick()
    return Done({"number": job.payload.number})


class Keyed(Number):
    """What a job of one of many keys carries."""

    key: int


@handler(
    "bench.keyed",
    payload=Keyed,
    batch=Batch(512),
    limit=Limit(concurrency=50, rate=100_000, by=("key",), across_projects=True),
    example={"number": 1, "key": 1},
)
def keyed(job: Run[Keyed]) -> Done:
    """Do nothing but be counted."""
    recorder.tick()
    return Done({"number": job.payload.number})


@handler("bench.pick_up", payload=Number, batch=Batch(512), example={"number": 1})
def pick_up(job: Run[Number]) -> Done:
    """Write down when it started."""
    recorder.picked(job.payload.number)
    return Done({"number": job.payload.number})
