"""The few automation conditions, each with its reason."""

import dagster as dg

_NEW = (
    dg.AutomationCondition.newly_updated() & ~dg.AutomationCondition.executed_with_root_target()
) | dg.AutomationCondition.will_be_requested()
_THE_MODEL = dg.AssetSelection.key_substring("/registered_model") | dg.AssetSelection.key_substring("/release")

FOLLOWS_NEW_MODEL = (
    dg.AutomationCondition.any_deps_match(_NEW).allow(_THE_MODEL).since_last_handled()
    & ~dg.AutomationCondition.any_deps_missing()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
    & dg.AutomationCondition.all_deps_blocking_checks_passed()
).with_label("follows_new_model")
"""`release` and `staging_deployment` follow a newly registered model by themselves, so that a push to the data
registry ends in a release in staging with nobody at the keyboard; promotion to production is never automatic.

`eager()` is not enough: it would also answer to a new checkpoint that no verdict let through or to a new evaluation
set, and it ignores checks. A run that makes both the model and what follows it (`ship`) is not followed again."""
