"""What Prometheus is told of the chain: how far it is read, which nonces wait, and what confirming costs."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from confirmations import figures

GWEI = 1e9


def collect() -> Iterator[Metric]:
    """Every metric family of the chain."""
    yield from _capture()
    yield from _signers()
    yield from _work()


def _gauge(name: str, text: str, label: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"jobplatform_{name}", text, labels=(label,))


def _counter(name: str, text: str, label: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"jobplatform_{name}", text, labels=(label,))


def _capture() -> Iterator[Metric]:
    age = _gauge("chain_head_age_seconds", "Since when no node has told of the head of a network.", "network")
    lag = _gauge("capture_lag_blocks", "Blocks below the head that are not read.", "contract")
    complete = _gauge("capture_complete_block", "Up to this block every log was read.", "contract")
    quiet = _gauge("capture_quiet_seconds", "Since when the lease of a contract's reader is over.", "contract")
    orphaned = _gauge("capture_logs_orphaned", "Captured logs whose blocks are gone.", "contract")
    missed = _counter("capture_sweep_misses", "Logs that were found only when blocks were read once more.", "contract")
    strangers = _counter("capture_strangers", "Events of senders that are none of our signers.", "contract")
    for found in figures.captured():
        age.add_metric((found.network,), found.head_age)
        lag.add_metric((found.address,), found.lag)
        complete.add_metric((found.address,), found.complete_to)
        quiet.add_metric((found.address,), found.quiet)
        orphaned.add_metric((found.address,), found.orphaned)
        missed.add_metric((found.address,), found.missed)
        strangers.add_metric((found.address,), found.strangers)
    yield from (age, lag, complete, quiet, orphaned, missed, strangers)


def _signers() -> Iterator[Metric]:
    resting = _gauge("signer_resting", "1: it signs nothing for now.", "signer")
    opened = _gauge("signer_nonces_open", "Nonces that were given away and are not final.", "signer")
    age = _gauge("signer_oldest_nonce_seconds", "For how long the first of them that is not mined waits.", "signer")
    balance = _gauge("signer_balance_wei", "What an address has.", "signer")
    for found in figures.signed():
        resting.add_metric((found.address,), found.resting)
        opened.add_metric((found.address,), found.opened)
        age.add_metric((found.address,), found.age)
        if found.balance is not None:
            balance.add_metric((found.address,), found.balance)
    yield from (resting, opened, age, balance)


def _work() -> Iterator[Metric]:
    waiting = _gauge("confirmations_open", "Confirmations that are not final, by how they stand.", "standing")
    for standing, number in figures.standing().items():
        waiting.add_metric((standing,), number)
    yield waiting
    fee = _gauge("transaction_fee_gwei", "What the newest transaction of a signer offers at most.", "signer")
    gas = _gauge("transaction_gas_per_job", "Gas of the newest transaction of a mode, for each of its jobs.", "mode")
    for signer, offered in figures.offered().items():
        fee.add_metric((signer,), offered / GWEI)
    for mode, used in figures.gas_per_job().items():
        gas.add_metric((mode,), used)
    yield from (fee, gas)
