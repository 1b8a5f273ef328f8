"""This project beside its peers, on the same work, in one run: `make bench`. The rest imports nothing from here."""
