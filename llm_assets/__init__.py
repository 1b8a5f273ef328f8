"""What exists: the stages of a model line, a folder each, in the order the data flows."""
