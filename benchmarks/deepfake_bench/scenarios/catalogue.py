"""All scenarios, by name."""

from __future__ import annotations

from deepfake_bench.scenarios.base import Scenario

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "cold_start",
            "from a fresh process to the first verdict",
            headline="total_ms_p50",
            also=("parameters",),
            module="speed.cold_start",
        ),
        Scenario(
            "single_stream",
            "latency at batch 1, warm",
            headline="latency_ms_p50",
            also=("predict_ms_p50",),
            module="speed.single_stream",
        ),
        Scenario(
            "offline",
            "best throughput over batch sizes",
            headline="images_per_s",
            also=("files_per_s",),
            module="speed.offline",
        ),
        Scenario(
            "train_throughput",
            "training steps, from files and on samples that lie ready",
            headline="images_per_s_on_device",
            also=("images_per_s_pairs", "images_per_s_store", "mfu"),
            by_default="cuda",
            module="training.train_throughput",
        ),
        Scenario(
            "server",
            "response times under Poisson arrivals, queue and service together",
            headline="response_ms_load_80_p50",
            also=("response_ms_load_50_p50", "capacity_per_s", "requests_per_s_within_p99"),
            by_default=False,
            module="speed.server",
        ),
        Scenario(
            "accuracy",
            "ranking, operating points and calibration, per source",
            headline="auc",
            needs_dataset=True,
            needs_training=True,
        ),
        Scenario(
            "robustness",
            "accuracy on compressed, reduced, blurred and re-encoded pictures",
            headline="auc_lowest_variant",
            also=("mild_change", "recoded_change"),
            needs_dataset=True,
            needs_training=True,
            of_pictures=True,
            by_default=False,
        ),
        Scenario(
            "training_record",
            "what the package keeps of its training: validation, and sources that were left out",
            headline="auc_left_out",
            also=("false_fake_left_out_worst", "ece_validation"),
            needs_training=True,
            by_default=False,
        ),
        Scenario(
            "attack",
            "accuracy on faces that were changed by a few levels to fool this very network",
            headline="auc_pgd_2",
            also=("auc_clean",),
            needs_dataset=True,
            needs_training=True,
            of_pictures=True,
            by_default=False,
        ),
        Scenario(
            "explain",
            "whether the score follows the places that each explainer names",
            headline="faithfulness_best",
            also=("faithfulness_random",),
            needs_dataset=True,
            needs_training=True,
            of_pictures=True,
            by_default=False,
        ),
        Scenario(
            "untrained_probe",
            "how far a dataset gives its labels away to linear probes that know nothing of fakes",
            headline="auc_network",
            also=("auc_pixels",),
            needs_dataset=True,
            of_pictures=True,
            by_default=False,
        ),
    )
}
