"""From images to metrics: predict, scores, metrics, summary."""
