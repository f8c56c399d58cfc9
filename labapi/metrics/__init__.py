"""What conductors and agents show to Prometheus."""
