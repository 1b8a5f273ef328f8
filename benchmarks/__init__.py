"""This project beside its peers, on the same work, in one run; see README.md. Nothing here is imported by the rest."""
