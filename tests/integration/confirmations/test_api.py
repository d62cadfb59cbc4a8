"""Confirmations, proofs and signers over HTTP; and what an outsider makes of a proof."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command

from confirmations.models import Network, Transaction
from events.models import AuditRecord
from jobplatform import chain_metrics
from jobs.models import Intervention
from projects import scopes
from projects import services as projects
from tests.integration.projects.conftest import Call, Tenant, call, make_tenant
from tests.world import World

__all__ = ["call"]

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def ours(world: World) -> Tenant:
    return make_tenant("Ours")


@pytest.fixture
def theirs(world: World) -> Tenant:
    return make_tenant("Theirs")


@pytest.fixture
def confirmed(world: World, ours: Tenant) -> dict[str, UUID]:
    """A confirmed job of each mode in our project."""
    Network.objects.update(batch_seconds=0, anchor_seconds=0)
    found = {}
    for mode in ("single", "batch", "anchor"):
        found[mode], *_ = world.submit(3, confirm=mode, project_id=ours.project.id)
    world.settle()
    return found


def shell(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "docs" / "verify_proof.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_proof_of_each_mode_convinces_whoever_has_a_node(
    call: Call, world: World, confirmed: dict[str, UUID], tmp_path: Path
) -> None:
    for mode, job in confirmed.items():
        answer = call("GET", f"/api/v1/jobs/{job}/proof")
        assert answer.status_code == 200
        proof = answer.json()
        assert (proof["mode"], proof["verdict"]["code"]) == (mode, "final")
        assert len(proof["path"]) == (4 if mode == "anchor" else 0) or mode == "anchor"
        file = tmp_path / f"{mode}.json"
        file.write_text(json.dumps(proof))
        said = io.StringIO()
        call_command("verify_proof", str(file), rpc=world.node.url, stdout=said)
        assert said.getvalue().startswith(f"Verified: job {job} stands in block")
        outside = shell(file, world.node.url)
        assert (outside.returncode, outside.stdout.split()[0]) == (0, "verified:"), outside.stderr


def test_a_proof_that_was_touched_convinces_nobody(
    call: Call, world: World, confirmed: dict[str, UUID], tmp_path: Path
) -> None:
    proof: dict[str, Any] = call("GET", f"/api/v1/jobs/{confirmed['anchor']}/proof").json()
    single = call("GET", f"/api/v1/jobs/{confirmed['single']}/proof").json()
    touched = [
        proof | {"preimage": proof["preimage"].replace("order", "older")},
        proof | {"path": proof["path"][::-1][:-1]},
        proof | {"leaves": proof["leaves"] + 1},
        proof | {"transaction": single["transaction"]},
        proof | {"job": single["job"]},
        proof | {"signer": "0x" + 40 * "1"},
        proof | {"network": 1},
    ]
    for number, wrong in enumerate(touched):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(wrong))
        with pytest.raises(CommandError):
            call_command("verify_proof", str(file), rpc=world.node.url)
        assert shell(file, world.node.url).returncode == 1


def test_confirmations_are_shown_to_their_project_alone(
    call: Call, confirmed: dict[str, UUID], ours: Tenant, theirs: Tenant
) -> None:
    page = call("GET", "/api/v1/confirmations?standing=confirmed&mode=batch").json()
    assert len(page["results"]) == 3
    shown = call("GET", f"/api/v1/confirmations/{confirmed['batch']}").json()
    assert (shown["standing"], shown["transaction"]["step"], shown["transaction"]["jobs"]) == ("confirmed", "final", 3)
    assert [attempt["state"] for attempt in shown["transaction"]["attempts"]] == ["mined"]
    assert "raw" not in json.dumps(shown)
    job = call("GET", f"/api/v1/jobs/{confirmed['batch']}").json()
    assert job["confirmation"] == {
        "mode": "batch",
        "status": "confirmed",
        "url": f"/api/v1/confirmations/{confirmed['batch']}",
    }
    assert call("GET", "/api/v1/confirmations", key=theirs.text).json()["results"] == []
    for path in ("confirmations/{}", "jobs/{}/proof"):
        answer = call("GET", f"/api/v1/{path.format(confirmed['batch'])}", key=theirs.text)
        assert (answer.status_code, answer.json()["code"]) == (404, "confirmation_not_found")
    assert call("GET", "/api/v1/confirmations?standing=lost").status_code == 400


def test_who_resumes_a_signer_about_which_a_decision_is_open_decides_it(call: Call, world: World) -> None:
    world.node.call("anvil_setNonce", str(world.signer), "0x9")
    world.node.mine()
    world.watch()
    (shown,) = call("GET", "/api/v1/signers").json()["results"]
    assert shown["duty"] == "halted"

    assert call("POST", shown["links"]["resume"], {"reason": "an old script"}).json()["duty"] == "active"

    decided = Intervention.objects.get(reason="foreign_nonce")
    assert (decided.action, decided.decision_reason, decided.resolved_at is None) == ("resume", "an old script", False)
    assert AuditRecord.objects.get(action="signer.resume").reason == "an old script"
    assert world.signer.next_nonce == 9


def test_a_signer_is_paused_and_resumed_by_an_operator(call: Call, world: World, ours: Tenant) -> None:
    (shown,) = call("GET", "/api/v1/signers").json()["results"]
    assert (shown["address"], shown["duty"], shown["open"]) == (str(world.signer), "active", 0)
    path = shown["links"]["pause"]
    assert call("POST", path, {}).status_code == 422
    assert call("POST", path, {"reason": "its key"}).json()["duty"] == "paused"
    assert AuditRecord.objects.get(action="signer.pause").reason == "its key"
    (job,) = world.submit(project_id=ours.project.id)
    world.settle()
    assert world.statuses([job]) == ["confirming"]
    why = call("GET", f"/api/v1/jobs/{job}/explain").json()
    assert (why["code"], why["detail"]) == ("signer_rests", "Its signer signs nothing for now: its key.")

    assert call("POST", shown["links"]["resume"], {"reason": "done"}).json()["duty"] == "active"

    world.settle()
    assert world.statuses([job]) == ["confirmed"]
    nobody = f"/api/v1/signers/{UUID(int=1)}"
    assert call("GET", nobody).json()["code"] == "signer_not_found"
    assert call("POST", f"{nobody}/pause", {"reason": "x"}).status_code == 404


def test_a_tenant_key_does_not_see_signers(call: Call, ours: Tenant) -> None:
    _, issued = projects.create_project_with_key(name="New", held=scopes.ALL, actor="key:x", by_key=ours.key_id)

    answer = call("GET", "/api/v1/signers", key=issued.text)

    assert (answer.status_code, answer.json()["detail"]) == (403, "This needs the scope signers:read.")


def test_metrics_tell_how_far_the_chain_is_read_and_what_waits(world: World, confirmed: dict[str, UUID]) -> None:
    world.submit(2)
    world.ask()
    world.send()
    world.watch()

    found = {
        sample.name.removeprefix("jobplatform_"): sample.value
        for family in chain_metrics.collect()
        for sample in family.samples
        if sample.labels.get("standing") in {None, "sent"} and sample.labels.get("mode") in {None, "batch"}
    }

    assert found["capture_complete_block"] == world.node.head()
    assert (found["signer_nonces_open"], found["signer_resting"]) == (2, 0)
    assert found["confirmations_open"] == 2
    assert 3_000 < found["transaction_gas_per_job"] < 20_000  # three jobs share it: what its receipt says
    assert Transaction.objects.get(mode="batch").gas_used == 3 * found["transaction_gas_per_job"]
    assert found["signer_balance_wei"] > 0
    assert found["capture_sweep_misses_total"] == 0
