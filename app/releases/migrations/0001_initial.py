from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Release",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("environment", models.CharField(max_length=40)),
                ("number", models.PositiveIntegerField(help_text="Counts up from 1 in each environment.")),
                (
                    "state",
                    models.CharField(
                        choices=[("pending", "Pending"), ("good", "Good"), ("failed", "Failed"), ("undone", "Undone")],
                        default="pending",
                        max_length=10,
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("deploy", "Deploy"), ("rollback", "Rollback"), ("recreate", "Recreate")],
                        default="deploy",
                        max_length=10,
                    ),
                ),
                ("build", models.CharField(help_text="The first 12 hex digits of the commit.", max_length=40)),
                ("commit", models.CharField(blank=True, max_length=40)),
                ("version", models.CharField(blank=True, max_length=40)),
                ("digest", models.CharField(blank=True, help_text="sha256:… of the image's manifest.", max_length=71)),
                ("who", models.CharField(blank=True, max_length=100)),
                ("started", models.DateTimeField()),
                ("ended", models.DateTimeField(blank=True, help_text="Empty while the release is pending.", null=True)),
                ("reason", models.TextField(blank=True, help_text="Why it failed or was undone.")),
            ],
            options={
                "ordering": ["-started", "-number"],
                "indexes": [models.Index(fields=["-started", "-number"], name="release_newest")],
                "constraints": [models.UniqueConstraint(fields=("environment", "number"), name="release_number_once")],
            },
        ),
    ]
