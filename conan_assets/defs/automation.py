"""When the graph runs by itself: the job over everything and its weekly schedule."""

import dagster as dg

train_job = dg.define_asset_job(
    "train_job",
    selection=dg.AssetSelection.all(),
    description="Materialize everything: finished outputs of unchanged inputs and settings are reused.",
)

weekly_training = dg.ScheduleDefinition(
    name="weekly_training",
    job=train_job,
    cron_schedule="0 3 * * 0",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Re-train every Sunday at 03:00; start it in the UI.",
)
