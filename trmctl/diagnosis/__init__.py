"""Why a run in a cluster does not train: evidence, causes, findings."""
