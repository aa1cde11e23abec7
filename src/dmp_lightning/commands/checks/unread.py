"""Keys of training that other commands have and do not read, and why."""

OF_TRAINING = ("recipe", "loss_weight", "logger", "controls", "compile", "activation_checkpointing", "resume", "label")
OF_PATCHES = (*OF_TRAINING, "base_results", "method", "gate", "budget", "data.validation")
UNREAD: dict[str, dict[str, str]] = {
    "sample": {
        **dict.fromkeys(OF_PATCHES, "sampling reads none of it"),
        "features": "sampling measures nothing",
        "evaluation.samples": "samples says how many",
        "evaluation.seed": "seeds says which noise",
        "evaluation.shown": "samples says how many",
        "evaluation.strata": "sampling takes no losses",
    },
    "evaluate": {
        **dict.fromkeys(OF_PATCHES, "an evaluation reads none of it"),
        "evaluation.shown": "an evaluation draws no pictures",
        "evaluation.strata": "an evaluation takes no losses",
    },
    "export": dict.fromkeys(
        (*OF_TRAINING, "base_results", "sampler", "features", "evaluation", "data", "trainer", "matmul_precision"),
        "an export reads none of it",
    ),
}
"""By command, the key or group, and the reason."""
