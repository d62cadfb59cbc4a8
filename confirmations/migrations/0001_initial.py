"""Confirmations: new tables only, so nothing waits for a lock."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    # The events app brings platform_now(), by which confirmations wait and attempts age.
    dependencies = [("events", "0001_log")]

    operations = [
        migrations.CreateModel(
            name="Transaction",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("nonce", models.BigIntegerField()),
                ("mode", models.TextField()),
                ("data", models.BinaryField()),
                ("count", models.IntegerField()),
                (
                    "step",
                    models.TextField(
                        choices=[
                            ("reserved", "reserved"),
                            ("signed", "signed"),
                            ("sent", "sent"),
                            ("included", "included"),
                            ("final", "final"),
                            ("stuck", "stuck"),
                            ("reverted", "reverted"),
                            ("freed", "freed"),
                            ("foreign", "foreign"),
                        ],
                        default="reserved",
                    ),
                ),
                ("seq", models.IntegerField(default=0)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("sent_at", models.DateTimeField(null=True)),
                ("block_number", models.BigIntegerField(null=True)),
                ("block_hash", models.BinaryField(null=True)),
                ("tx_hash", models.BinaryField(null=True)),
                ("gas_used", models.BigIntegerField(null=True)),
                ("frees", models.BooleanField(default=False)),
                ("offer", models.JSONField(null=True)),
                ("silent_since", models.BigIntegerField(null=True)),
                ("reason", models.TextField(blank=True, default="")),
            ],
        ),
        migrations.CreateModel(
            name="Contract",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("address", models.BinaryField()),
                ("deploy_block", models.BigIntegerField()),
                ("active", models.BooleanField(default=True)),
                ("next_block", models.BigIntegerField()),
                ("span", models.JSONField(default=dict)),
                ("lease_no", models.IntegerField(default=0)),
                ("lease_by", models.UUIDField(null=True)),
                ("lease_until", models.DateTimeField(null=True)),
                ("swept_to", models.BigIntegerField(null=True)),
                ("sweep_misses", models.BigIntegerField(default=0)),
                ("seq", models.IntegerField(default=0)),
                ("strangers", models.BigIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="Signer",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("address", models.BinaryField()),
                ("backend", models.TextField(choices=[("keystore", "keystore"), ("kms", "kms")], default="keystore")),
                ("key", models.TextField(blank=True, default="")),
                (
                    "duty",
                    models.TextField(
                        choices=[
                            ("active", "active"),
                            ("paused", "paused"),
                            ("no_funds", "no_funds"),
                            ("halted", "halted"),
                        ],
                        default="active",
                    ),
                ),
                ("reason", models.TextField(blank=True, default="")),
                ("next_nonce", models.BigIntegerField(default=0)),
                ("mined_nonce", models.BigIntegerField(default=0)),
                ("balance", models.DecimalField(decimal_places=0, max_digits=78, null=True)),
                ("seen_at", models.DateTimeField(null=True)),
                ("seq", models.IntegerField(default=0)),
            ],
            options={
                "permissions": [
                    ("pause_signer", "May pause and resume signers"),
                    ("repair", "May decide about transactions, confirmations and signers"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Anchor",
            fields=[
                (
                    "transaction",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        serialize=False,
                        to="confirmations.transaction",
                    ),
                ),
                ("root", models.BinaryField(unique=True)),
                ("leaves", models.IntegerField()),
                ("nodes", models.BinaryField()),
            ],
        ),
        migrations.AddField(
            model_name="transaction",
            name="contract",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, to="confirmations.contract"
            ),
        ),
        migrations.CreateModel(
            name="Block",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "contract_id", "number", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("number", models.BigIntegerField()),
                ("hash", models.BinaryField()),
                (
                    "contract",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, to="confirmations.contract"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Network",
            fields=[
                ("chain_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("name", models.TextField(unique=True)),
                ("default", models.BooleanField(default=False)),
                (
                    "finality",
                    models.TextField(
                        choices=[("depth", "depth"), ("safe", "safe"), ("finalized", "finalized")], default="finalized"
                    ),
                ),
                ("depth", models.IntegerField(default=64)),
                ("block_seconds", models.FloatField(default=12.0)),
                ("least_tip", models.BigIntegerField(default=100000000)),
                ("fee_cap", models.BigIntegerField(default=500000000000)),
                ("in_flight", models.SmallIntegerField(default=16)),
                ("bump_seconds", models.FloatField(default=60.0)),
                ("batch_size", models.SmallIntegerField(default=100)),
                ("batch_seconds", models.FloatField(default=2.0)),
                ("anchor_size", models.IntegerField(default=10000)),
                ("anchor_seconds", models.FloatField(default=10.0)),
                ("head", models.BigIntegerField(null=True)),
                ("final", models.BigIntegerField(null=True)),
                ("seen_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("default", True)), fields=("default",), name="confirmations_network_default"
                    )
                ],
            },
        ),
        migrations.AddField(
            model_name="contract",
            name="network",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, to="confirmations.network"
            ),
        ),
        migrations.CreateModel(
            name="ScannedRange",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "contract_id", "first", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("first", models.BigIntegerField()),
                ("last", models.BigIntegerField()),
                ("read_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "contract",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, to="confirmations.contract"
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="transaction",
            name="signer",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, to="confirmations.signer"
            ),
        ),
        migrations.AddField(
            model_name="signer",
            name="network",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, to="confirmations.network"
            ),
        ),
        migrations.CreateModel(
            name="Confirmation",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("project_id", models.UUIDField()),
                ("position", models.IntegerField(null=True)),
                ("mode", models.TextField()),
                ("result_hash", models.BinaryField()),
                (
                    "standing",
                    models.TextField(
                        choices=[
                            ("waiting", "waiting"),
                            ("sent", "sent"),
                            ("confirmed", "confirmed"),
                            ("blocked", "blocked"),
                            ("skipped", "skipped"),
                        ],
                        default="waiting",
                    ),
                ),
                ("kind", models.TextField()),
                ("asked_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("confirmed_at", models.DateTimeField(null=True)),
                ("block_number", models.BigIntegerField(null=True)),
                ("tx_hash", models.BinaryField(null=True)),
                ("reason", models.TextField(blank=True, default="")),
                (
                    "transaction",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="confirmations.transaction",
                    ),
                ),
                (
                    "contract",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, to="confirmations.contract"
                    ),
                ),
                (
                    "signer",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, to="confirmations.signer"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("number", models.SmallIntegerField()),
                ("raw", models.BinaryField()),
                ("hash", models.BinaryField(unique=True)),
                ("tip", models.BigIntegerField()),
                ("fee", models.BigIntegerField()),
                ("gas", models.BigIntegerField()),
                ("frees", models.BooleanField(default=False)),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("signed", "signed"),
                            ("sent", "sent"),
                            ("refused", "refused"),
                            ("mined", "mined"),
                            ("dropped", "dropped"),
                        ],
                        default="signed",
                    ),
                ),
                ("sends", models.IntegerField(default=0)),
                ("signed_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("first_sent_at", models.DateTimeField(null=True)),
                ("sent_at", models.DateTimeField(null=True)),
                ("reply", models.TextField(blank=True, default="")),
                ("said", models.TextField(blank=True, default="")),
                (
                    "transaction",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, to="confirmations.transaction"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("transaction", "number"), name="confirmations_attempt_number")
                ],
            },
        ),
        migrations.CreateModel(
            name="Log",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "contract_id",
                        "block_hash",
                        "log_index",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("block_number", models.BigIntegerField()),
                ("block_hash", models.BinaryField()),
                ("log_index", models.IntegerField()),
                ("tx_hash", models.BinaryField()),
                ("event", models.TextField()),
                ("subject", models.BinaryField()),
                ("value", models.BinaryField()),
                ("source", models.TextField()),
                ("orphaned", models.BooleanField(default=False)),
                ("settled", models.BooleanField(default=False)),
                (
                    "contract",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="confirmations.contract",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("settled", False)),
                        fields=["contract", "block_number"],
                        name="confirmations_log_open",
                    ),
                    models.Index(fields=["contract", "block_number"], name="confirmations_log_block"),
                    models.Index(
                        condition=models.Q(("orphaned", False)), fields=["subject"], name="confirmations_log_subject"
                    ),
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="contract",
            constraint=models.UniqueConstraint(fields=("network", "address"), name="confirmations_contract_address"),
        ),
        migrations.AddIndex(
            model_name="transaction",
            index=models.Index(
                condition=models.Q(("step__in", ("reserved", "signed", "sent", "stuck", "included"))),
                fields=["signer", "nonce"],
                name="confirmations_transaction_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.UniqueConstraint(fields=("signer", "nonce"), name="confirmations_transaction_nonce"),
        ),
        migrations.AddConstraint(
            model_name="signer",
            constraint=models.UniqueConstraint(fields=("network", "address"), name="confirmations_signer_address"),
        ),
        migrations.AddIndex(
            model_name="confirmation",
            index=models.Index(
                condition=models.Q(("standing", "waiting")),
                fields=["signer", "mode", "contract", "id"],
                name="confirmations_waiting",
            ),
        ),
        migrations.AddIndex(
            model_name="confirmation",
            index=models.Index(
                condition=models.Q(("standing", "confirmed"), _negated=True),
                fields=["project_id", "standing", "id"],
                name="confirmations_open",
            ),
        ),
        migrations.AddIndex(
            model_name="confirmation",
            index=models.Index(fields=["transaction", "position"], name="confirmations_of_tx"),
        ),
        migrations.AddConstraint(
            model_name="confirmation",
            constraint=models.UniqueConstraint(fields=("project_id", "id"), name="confirmations_confirmation_list"),
        ),
    ]
