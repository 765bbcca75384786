"""Ten generated tasks with answers that are known: what is drawn, how it is put into words, and what is held out."""
