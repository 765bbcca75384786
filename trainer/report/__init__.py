"""Pages that show runs. They read JSON alone: no torch, no arrays."""
