"""What is not sealed yet, and each chain in its order. Built while the platform works."""

from django.db import migrations, models

from jobplatform.indexes import BuildIndex, UniqueIndex


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("events", "0003_audit_chains")]

    operations = [
        BuildIndex(
            model_name="auditrecord",
            index=models.Index(
                fields=["id"], condition=models.Q(("chain_no__isnull", True)), name="events_audit_unsealed"
            ),
        ),
        BuildIndex(
            model_name="auditrecord",
            index=UniqueIndex(
                fields=["project_id", "chain_no"],
                condition=models.Q(("chain_no__isnull", False)),
                name="events_audit_chain",
            ),
        ),
    ]
