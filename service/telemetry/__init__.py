"""What operators are told: metrics, a line a request, traces, readiness, systemd.

Start with `metrics`, a table of all there are, and `requests`, which sees every
request and its answer. It may import everything of the service but the ways to run.
"""
