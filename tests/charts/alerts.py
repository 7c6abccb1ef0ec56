"""What Prometheus sees of a healthy release, and of one that is unwell in one way: series as promtool reads them."""

from collections.abc import Mapping

EVERY_SECONDS = 60
STEPS = 80
READ_AT = "70m"

HEALTHY = {
    'sightline_model_ready{pod="t0",model="ranker"}': "1",
    'sightline_item_store_up{pod="t0"}': "1",
    'sightline_requests_total{pod="t0",model="ranker",protocol="v1",outcome="ok"}': "0+300",
    'sightline_requests_total{pod="t0",model="ranker",protocol="v1",outcome="invalid"}': "0+300",
    'sightline_request_seconds_bucket{pod="t0",model="ranker",protocol="v1",le="0.1"}': "0+600",
    'sightline_request_seconds_bucket{pod="t0",model="ranker",protocol="v1",le="+Inf"}': "0+600",
    'sightline_predictor_retries_total{pod="t0"}': "0",
    'sightline_degraded_total{pod="t0",model="ranker",reason="stored_value_invalid"}': "0+1",
    'sightline_captions_total{pod="t0",model="ranker",caption="known"}': "0+900",
    'sightline_captions_total{pod="t0",model="ranker",caption="missing"}': "0+100",
    'sightline_candidates_total{pod="t0",model="ranker"}': "0+1000",
    'sightline_unknown_items_total{pod="t0",model="ranker"}': "0+10",
    'nv_inference_request_success{pod="r0",model="ranker",version="1"}': "0+300",
    'nv_inference_request_failure{pod="r0",model="ranker",version="1",reason="REJECTED"}': "0",
    'nv_inference_request_failure{pod="r0",model="ranker",version="1",reason="CANCELED"}': "0+100",
    'nv_inference_queue_duration_us{pod="r0",model="ranker",version="1"}': "0+30000",
    'sightline_captioner_requests_held{pod="c0",replica="a"}': "0",
    'sightline_captioner_images_total{pod="c0",replica="a",code="ok"}': "0+100",
    'sightline_captioner_images_total{pod="c0",replica="a",code="not_an_image"}': "0+100",
    'sightline_captioner_requests_total{pod="c0",replica="a",status="200"}': "0+100",
    'sightline_assignment_age_seconds{pod="t0"}': "2",
    'sightline_exposures_total{pod="t0",model="ranker",result="queued"}': "0+300",
    'sightline_exposures_total{pod="t0",model="ranker",result="written"}': "0+300",
    'sightline_arm_requests_total{pod="t0",model="ranker",experiment="e",arm="stable",outcome="ok"}': "0+100",
    'sightline_arm_requests_total{pod="t0",model="ranker",experiment="e",arm="stable",outcome="failed"}': "0+100",
    'sightline_arm_requests_total{pod="t0",model="ranker",experiment="e",arm="candidate",outcome="ok"}': "0+100",
    'sightline_experiment_phase{pod="o0",experiment="e",phase="Running"}': "1",
    'sightline_experiment_ratio_p{pod="o0",experiment="e"}': "0.4",
    'sightline_experiment_phase{pod="o0",experiment="old",phase="RolledBack"}': "1",
    'sightline_experiment_ratio_p{pod="o0",experiment="old"}': "0.00001",
    'sightline_operator_leader{pod="o0"}': "1",
    'sightline_operator_leader{pod="o1"}': "0",
}
"""Growth per step. Callers' mistakes and pictures that nobody can caption are part of health."""

UNWELL: dict[str, dict[str, str | None]] = {
    "SightlineRankingDown": {'sightline_model_ready{pod="t0",model="ranker"}': "0"},
    "SightlineModelNotReady": {'sightline_model_ready{pod="t1",model="ranker"}': "0"},
    "SightlineRequestErrors": {
        'sightline_requests_total{pod="t0",model="ranker",protocol="v1",outcome="predictor_unavailable"}': "0+30"
    },
    "SightlineRankingSlow": {
        'sightline_request_seconds_bucket{pod="t0",model="ranker",protocol="v1",le="0.1"}': "0+500",
        'sightline_request_seconds_bucket{pod="t0",model="ranker",protocol="v1",le="0.5"}': "0+600",
    },
    "SightlinePredictorRetries": {'sightline_predictor_retries_total{pod="t0"}': "0+60"},
    "SightlineTritonFailures": {
        'nv_inference_request_failure{pod="r0",model="ranker",version="1",reason="REJECTED"}': "0+30"
    },
    "SightlineTritonQueueing": {'nv_inference_queue_duration_us{pod="r0",model="ranker",version="1"}': "0+9000000"},
    "SightlineItemStoreDown": {'sightline_item_store_up{pod="t0"}': "0"},
    "SightlineRankingsDegraded": {
        'sightline_degraded_total{pod="t0",model="ranker",reason="stored_value_invalid"}': "0+30"
    },
    "SightlineCaptionsMissing": {'sightline_captions_total{pod="t0",model="ranker",caption="missing"}': "0+500"},
    "SightlineItemsUnknown": {'sightline_unknown_items_total{pod="t0",model="ranker"}': "0+500"},
    "SightlineCaptionerDown": {'sightline_captioner_requests_held{pod="c0",replica="a"}': None},
    "SightlineCaptionerFailing": {
        'sightline_captioner_images_total{pod="c0",replica="a",code="captioner_failed"}': "0+30"
    },
    "SightlineAssignmentStale": {'sightline_assignment_age_seconds{pod="t0"}': "400"},
    "SightlineExposuresLost": {'sightline_exposures_total{pod="t0",model="ranker",result="dropped"}': "0+3"},
    "SightlineExposuresNotAcknowledged": {
        'sightline_exposures_total{pod="t0",model="ranker",result="written"}': "500+0"
    },
    "SightlineCandidateFailing": {
        'sightline_arm_requests_total{pod="t0",model="ranker",experiment="e",arm="candidate",outcome="fallback"}': "0+5"
    },
    "SightlineSampleRatioMismatch": {'sightline_experiment_ratio_p{pod="o0",experiment="e"}': "0.00001"},
    "SightlineExperimentsNotReconciled": {'sightline_operator_leader{pod="o0"}': "0"},
    "SightlineExperimentsNotReconciled: steps fail": {
        'sightline_experiment_reconcile_failures_total{pod="o0",experiment="e"}': "0+1"
    },
    "SightlineCaptionerBusy": {'sightline_captioner_requests_total{pod="c0",replica="a",status="503"}': "0+50"},
}
"""Per alert, and its ways where it has several, what is different from health; None is a series that is not there."""


def promtool_test(name: str, changes: Mapping[str, str | None], firing: list[str]) -> dict[str, object]:
    """One test of promtool: exactly these alerts fire. Every series is of the namespace `sightline`."""
    series = {name: growth for name, growth in (HEALTHY | dict(changes)).items() if growth is not None}
    return {
        "name": name,
        "interval": f"{EVERY_SECONDS}s",
        "input_series": [
            {"series": each.replace("{", '{namespace="sightline",', 1), "values": f"{growth}x{STEPS}"}
            for each, growth in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": READ_AT,
                "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in firing],
            }
        ],
    }
