"""What a reader makes of each task as a text: prompts of the rows of a data set, readers, and vectors that are kept."""
