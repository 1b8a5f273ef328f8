"""Monitoring: an hour of requests as a record, and how far it is from the training data."""
