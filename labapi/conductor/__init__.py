"""The conductor: dispatches cases, collects reports, notices who is gone."""
