"""How the outside is reached: registry, store, compute, tracking, serving, notifier; nothing of the stages."""
