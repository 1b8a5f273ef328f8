"""How the outside is reached: data registry, store, compute, tracking, serving, notifier. Imports nothing of the stages."""
