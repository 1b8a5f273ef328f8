"""The few automation conditions, each with its reason."""

import dagster as dg

FOLLOWS_NEW_MODEL = (
    dg.AutomationCondition.eager() & dg.AutomationCondition.all_deps_blocking_checks_passed()
).with_label("follows_new_model")
"""`release` and `staging_deployment` follow a newly registered model by themselves, so that a push to the data
registry ends in a release in staging with nobody at the keyboard. `eager` alone ignores checks; promotion to
production is never automatic."""
