"""The typed records that stages hand each other.

A record is frozen, serialises to canonical JSON, and is named by the digest of that JSON. Large things stay in the
artifact store; records carry their `Artifact`. No record holds a clock reading, so equal work gives equal digests.
"""
